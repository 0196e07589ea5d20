//! `ctr images`: images as Docker lists them.

use std::collections::BTreeMap;
use std::io;

use coracle_image_oci::{Image, Reference, Store};
use serde_json::Value;

use super::create::store;
use super::filter::{self, Filter, Filters};
use super::format::{Listing, Row, decimal_size};
use super::time;
use crate::text::glob::{Glob, GlobFlags};

/// `images`.
#[derive(clap::Args)]
pub struct ImagesArgs {
    /// Also intermediate images: there are none
    #[arg(short, long)]
    all: bool,

    /// Show what registries call them
    #[arg(long)]
    digests: bool,

    /// Show those that meet a condition: before, dangling, label, reference, since, until
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = filter::parse)]
    filter: Vec<Filter>,

    /// Print as `table`, `table TEMPLATE`, `json` or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// Print whole ids
    #[arg(long)]
    no_trunc: bool,

    /// Print ids only
    #[arg(short, long)]
    quiet: bool,

    /// Show those of a repository, or of a pattern
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

/// What `--filter` knows.
const FILTERS: [&str; 7] = ["before", "dangling", "label", "label!", "reference", "since", "until"];

/// How they are printed.
pub const LISTING: Listing<'_> = Listing {
    type_name: "*formatter.imageContext",
    titles: &[
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Size", "SIZE"),
        ("Containers", "CONTAINERS"),
        ("VirtualSize", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
    ],
    columns: r"{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
};

/// List images, the newest first.
pub fn images(args: &ImagesArgs) -> anyhow::Result<i32> {
    let filters = Filters::new(&args.filter, &FILTERS)?;
    let store = store()?;
    let mut rows = Vec::new();
    let wants_digest = args.digests || Listing::mentions(args.format.as_deref(), "Digest");
    for image in select(&store, &filters)? {
        let shown = |name: &Reference| {
            filters.any("reference", |pattern| fits(pattern, name))
                && args.reference.as_ref().is_none_or(|pattern| fits(pattern, name))
        };
        let by_name = args.reference.is_some() || filters.has("reference");
        rows.extend(
            names(&image, wants_digest, by_name, shown).into_iter().map(|name| row(&image, &name, args.no_trunc)),
        );
    }
    let columns = LISTING.columns.replace(r"{{.Tag}}\t", r"{{.Tag}}\t{{.Digest}}\t");
    let columns = if args.digests { columns.as_str() } else { LISTING.columns };
    let format = if args.quiet { Some("{{.ID}}") } else { args.format.as_deref() };
    Listing { columns, ..LISTING }.print(&mut io::stdout().lock(), format, &rows)?;
    Ok(0)
}

/// When an image was made, RFC 3339; empty if it does not say.
pub fn created(image: &Image) -> &str {
    image.document()["created"].as_str().unwrap_or_default()
}

/// Its labels.
pub fn labels(image: &Image) -> BTreeMap<String, String> {
    let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    let labels = image.document()["config"]["Labels"].as_object();
    labels.into_iter().flatten().filter_map(text).collect()
}

/// The images that meet all conditions but those about names, the newest first.
pub fn select(store: &Store, filters: &Filters) -> anyhow::Result<Vec<Image>> {
    let when = |image: &Image| time::parse_rfc3339(created(image));
    let bound = |key: &str| -> anyhow::Result<Option<Image>> {
        filters.values(key).first().map(|name| Ok(store.resolve(name)?)).transpose()
    };
    let (before, since) = (bound("before")?, bound("since")?);
    let dangling = filters.truth("dangling")?;
    let mut all = Vec::new();
    for image in store.images()? {
        let fits = dangling.is_none_or(|dangling| image.names().is_empty() == dangling)
            && before.as_ref().is_none_or(|bound| when(&image) < when(bound))
            && since.as_ref().is_none_or(|bound| when(&image) > when(bound))
            && filters.labels(&labels(&image))
            && filters.until(created(&image))?;
        if fits {
            all.push(image);
        }
    }
    all.sort_by_key(|image| std::cmp::Reverse(when(image)));
    Ok(all)
}

/// Docker's pattern of names: of the name alone, or with its tag.
fn fits(pattern: &str, name: &Reference) -> bool {
    let glob = Glob::new(pattern.as_bytes(), GlobFlags { pathname: true, ..GlobFlags::default() });
    let full = pattern.parse::<Reference>().is_ok_and(|reference| {
        let has_tag = pattern.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
        if has_tag { reference == *name } else { reference.name() == name.name() }
    });
    full || glob.matches(name.familiar().as_bytes()) || glob.matches(name.familiar_name().as_bytes())
}

/// A line of the list: repository, tag, digest.
type Name = (String, String, String);

fn names(image: &Image, wants_digest: bool, by_name: bool, shown: impl Fn(&Reference) -> bool) -> Vec<Name> {
    let none = || "<none>".to_owned();
    let digests_of = |repository: &str| -> Vec<String> {
        let of = |digest: &String| digest.strip_prefix(repository)?.strip_prefix('@').map(str::to_owned);
        image.digests().iter().filter_map(of).collect()
    };
    let mut all: Vec<Name> = Vec::new();
    for name in image.names().iter().filter(|name| shown(name)) {
        let repository = name.familiar_name();
        let tagged = image.names().iter().any(|other| other.tag().is_some() && other.name() == name.name());
        let tag = match name.tag() {
            Some(tag) => tag.to_owned(),
            // A digest beside a tag of the repository has no line of its own.
            None if tagged => continue,
            None => none(),
        };
        let digests = if wants_digest { digests_of(&repository) } else { Vec::new() };
        let digests = if digests.is_empty() { vec![none()] } else { digests };
        all.extend(digests.into_iter().map(|digest| (repository.clone(), tag.clone(), digest)));
    }
    if image.names().is_empty() && !by_name {
        all.push((none(), none(), none()));
    }
    all.dedup();
    all
}

/// One line.
pub fn row(image: &Image, (repository, tag, digest): &Name, no_trunc: bool) -> Row {
    let created = created(image);
    let known = time::parse_rfc3339(created).is_some();
    let size = decimal_size(image.size());
    Row::new([
        ("ID", if no_trunc { image.id().to_string() } else { image.id().short().to_owned() }),
        ("Repository", repository.clone()),
        ("Tag", tag.clone()),
        ("Digest", digest.clone()),
        ("CreatedSince", if known { format!("{} ago", time::human(time::since(created))) } else { "N/A".into() }),
        ("CreatedAt", if known { time::in_words(created) } else { "N/A".into() }),
        ("Size", size.clone()),
        ("Containers", "N/A".into()),
        ("VirtualSize", size),
        ("SharedSize", "N/A".into()),
        ("UniqueSize", "N/A".into()),
    ])
}

/// The lines of an image by all its names.
pub fn all_names(image: &Image) -> Vec<Name> {
    names(image, false, false, |_| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_names() {
        let name: Reference = "quay.io/team/app:1.2".parse().unwrap();
        for pattern in ["quay.io/team/app", "quay.io/team/app:1.2", "quay.io/*/app", "quay.io/team/app:1.*", "*/*/*"] {
            assert!(fits(pattern, &name), "{pattern}");
        }
        for pattern in ["app", "quay.io/team", "quay.io/team/app:1.3", "*", "quay.io/*"] {
            assert!(!fits(pattern, &name), "{pattern}");
        }
        let hub: Reference = "redis:7".parse().unwrap();
        for pattern in ["redis", "redis:7", "red*", "*:7", "docker.io/library/redis"] {
            assert!(fits(pattern, &hub), "{pattern}");
        }
    }
}
