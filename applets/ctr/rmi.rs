//! `ctr rmi`: what may be removed, and what must not (docker's rules, moby daemon/images/image_delete.go).

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::bail;
use coracle_image_oci::{Alone, Error, Image, Reference, Store};

use super::create::store;
use super::record::{self, Record, Status};
use super::{events, names};
use crate::common;

/// `rmi`.
#[derive(clap::Args)]
pub struct RmiArgs {
    /// Also images that stopped containers use, or that have several names; one that does not exist is no error
    #[arg(short, long)]
    force: bool,

    /// Leave what the image was made of, which has no name: there is nothing such
    #[arg(long)]
    no_prune: bool,

    /// Images, by name or id
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// What containers use; to be asked while nobody can begin to use more.
pub struct InUse(Vec<Record>);

impl InUse {
    /// Of all containers on record.
    ///
    /// # Errors
    /// If one of them cannot be read: what it uses cannot be told then.
    pub fn find() -> anyhow::Result<InUse> {
        let mut all = Vec::new();
        for id in record::ids()? {
            match Record::read(&id) {
                Ok(record) => all.push(record),
                // It is about to be made, or to be gone.
                Err(_) if !Record::exists(&id) => {}
                Err(error) => {
                    let short = names::short(&id);
                    return Err(error.context(format!("cannot tell which image container {short} uses")));
                }
            }
        }
        Ok(InUse(all))
    }

    /// The layers that they stand on, and those that builds may want again.
    pub fn layers(&self) -> Vec<PathBuf> {
        let own = self.0.iter().flat_map(|record| record.layers.clone());
        own.chain(super::build::cached_layers()).collect::<BTreeSet<PathBuf>>().into_iter().collect()
    }

    /// Those of an image, running ones first.
    pub fn of(&self, image: &Image) -> impl Iterator<Item = &Record> {
        let id = image.id().to_string();
        let mut all: Vec<&Record> = self.0.iter().filter(|record| record.image == id).collect();
        all.sort_by_key(|record| record.state.status != Status::Running);
        all.into_iter()
    }
}

/// Remove images. What cannot be removed is reported, and the others go.
pub fn rmi(args: &RmiArgs) -> anyhow::Result<i32> {
    let store = store()?;
    let mut failed = false;
    for image in &args.images {
        match remove(&store, image, args.force) {
            Ok(lines) => lines.iter().try_for_each(|line| writeln!(io::stdout(), "{line}"))?,
            Err(error) => {
                let missing = error.downcast_ref().is_some_and(|error| matches!(error, Error::NoSuchImage(_)));
                failed |= !(missing && args.force);
                common::finish("ctr", Err(error));
            }
        }
    }
    Ok(i32::from(failed))
}

/// Remove an image by name (only that name, and the image with its last one) or by id. Gives what was done, in docker's words.
pub fn remove(store: &Store, text: &str, force: bool) -> anyhow::Result<Vec<String>> {
    let alone = store.alone()?;
    let in_use = InUse::find()?;
    let image = store.resolve(text)?;
    let mut done = Vec::new();
    match text.parse::<Reference>().ok().filter(|name| image.is_called(name)) {
        Some(name) => {
            if !untag(&alone, &image, &name, &in_use, text, force, &mut done)? {
                return Ok(done);
            }
        }
        None => {
            if let Some(why) = conflict(&image, &in_use, force, !is_single(&image)) {
                bail!(why);
            }
            done.extend(untagged(&image, |_| true));
        }
    }
    alone.forget(&image)?;
    events::of_image("delete", image.id().to_string(), None);
    done.push(format!("Deleted: {}", image.id()));
    let chain = chain_ids(&image);
    let collected = alone.collect(&in_use.layers())?;
    let gone = image.diff_ids().iter().zip(chain).rev().filter(|(diff_id, _)| collected.layers.contains(diff_id));
    done.extend(gone.map(|(_, chain)| format!("Deleted: {chain}")));
    Ok(done)
}

/// Take a name away. Says whether the image goes too.
fn untag(
    alone: &Alone<'_>,
    image: &Image,
    name: &Reference,
    in_use: &InUse,
    text: &str,
    force: bool,
    done: &mut Vec<String>,
) -> anyhow::Result<bool> {
    if !force
        && is_single(image)
        && let Some(user) = in_use.of(image).next()
    {
        bail!(
            "conflict: unable to remove repository reference {text:?} (must force) - container {} is using its referenced \
             image {}",
            names::short(&user.id),
            image.id().short()
        );
    }
    // A digest that no name of its own stands for goes with the tag.
    let stored: Vec<&Reference> = image.names().iter().filter(|stored| *stored == &name.canonical()).collect();
    let Some(stored) =
        stored.first().copied().or_else(|| image.names().iter().find(|other| other.name() == name.name()))
    else {
        bail!("no such image: {text}");
    };
    events::of_image("untag", image.id().to_string(), Some(stored));
    let others = image.names().iter().filter(|other| *other != stored).count();
    let others_here = image.names().iter().any(|other| other != stored && other.name() == stored.name());
    done.extend(untagged(image, |other| other == stored));
    if !others_here {
        let here = format!("{}@", stored.familiar_name());
        let digests = image.digests().iter().filter(|digest| digest.starts_with(&here));
        done.extend(digests.map(|digest| format!("Untagged: {digest}")));
    }
    if others > 0 {
        alone.untag(image, stored)?;
        return Ok(false);
    }
    // By force the name goes even if the image must stay.
    if conflict(image, in_use, force, false).is_some() {
        alone.untag(image, stored)?;
        return Ok(false);
    }
    Ok(true)
}

/// The lines about tags that go.
pub fn untagged(image: &Image, which: impl Fn(&Reference) -> bool) -> Vec<String> {
    let tags = image.names().iter().filter(|name| name.tag().is_some() && which(name));
    let mut lines: Vec<String> = tags.map(|name| format!("Untagged: {}", name.familiar())).collect();
    lines.dedup();
    lines
}

/// Whether all names are of one repository, and at most one of them is a tag.
fn is_single(image: &Image) -> bool {
    let tags = image.names().iter().filter(|name| name.tag().is_some()).count();
    let repositories: BTreeSet<String> = image.names().iter().map(Reference::name).collect();
    tags <= 1 && repositories.len() <= 1
}

/// Why an image cannot be removed.
fn conflict(image: &Image, in_use: &InUse, force: bool, several: bool) -> Option<String> {
    let why = |kind: &str, reason: String| {
        Some(format!("conflict: unable to delete {} ({kind}) - {reason}", image.id().short()))
    };
    let user = in_use.of(image).next();
    if let Some(user) = user.filter(|user| user.state.status == Status::Running) {
        let id = names::short(&user.id);
        return why("cannot be forced", format!("image is being used by running container {id}"));
    }
    if !force && several {
        return why("must be forced", "image is referenced in multiple repositories".into());
    }
    match user {
        Some(user) if !force => {
            let id = names::short(&user.id);
            why("must be forced", format!("image is being used by stopped container {id}"))
        }
        _ => None,
    }
}

/// What Docker calls the layers: each by what it is and what it stands on (image-spec config.md, "Layer ChainID").
pub fn chain_ids(image: &Image) -> Vec<coracle_image_oci::Digest> {
    let mut all: Vec<coracle_image_oci::Digest> = Vec::new();
    for diff_id in image.diff_ids() {
        let next = match all.last() {
            None => diff_id.clone(),
            Some(below) => coracle_image_oci::Digest::of(format!("{below} {diff_id}").as_bytes()),
        };
        all.push(next);
    }
    all
}
