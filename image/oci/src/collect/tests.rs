use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::commit::Layer;
use crate::unpack::DevicePolicy;

/// What may happen to a store, each with small numbers that stand for contents, names and containers.
#[derive(Clone, Debug)]
enum Step {
    /// An image of these contents comes in, with a name or without.
    Add(Vec<u8>, Option<u8>),
    /// The image with one name gets another.
    Tag(u8, u8),
    /// A container is made of the image with a name.
    Create(u8, u8),
    /// A container is removed.
    Remove(u8),
    /// A name is taken away.
    Untag(u8),
    /// The image with a name is taken away, its containers notwithstanding.
    Forget(u8),
    /// What has no name and no container is taken away.
    Prune,
    /// A layer comes in that nothing leads to, as when a build was interrupted.
    Stray(u8),
    /// Someone was killed while he was at work.
    Litter,
    Collect,
}

fn step() -> impl Strategy<Value = Step> {
    let small = 0..4u8;
    prop_oneof![
        (proptest::collection::vec(small.clone(), 1..4), proptest::option::of(small.clone()))
            .prop_map(|(a, b)| Step::Add(a, b)),
        (small.clone(), small.clone()).prop_map(|(a, b)| Step::Tag(a, b)),
        (small.clone(), small.clone()).prop_map(|(a, b)| Step::Create(a, b)),
        small.clone().prop_map(Step::Remove),
        small.clone().prop_map(Step::Untag),
        small.clone().prop_map(Step::Forget),
        Just(Step::Prune),
        small.prop_map(Step::Stray),
        Just(Step::Litter),
        Just(Step::Collect),
    ]
}

fn name(number: u8) -> Reference {
    format!("name-{number}").parse().unwrap()
}

fn layer(store: &Store, content: u8) -> Layer {
    let mut tar = tar::Builder::new(Vec::new());
    let data = [content; 10];
    let mut header = tar::Header::new_gnu();
    header.set_size(10);
    tar.append_data(&mut header, format!("file-{content}"), &data[..]).unwrap();
    let archive = tar.into_inner().unwrap();
    store.add_archive(&mut &archive[..], DevicePolicy::Refuse).unwrap()
}

fn add(store: &Store, contents: &[u8], names: &[Reference]) -> Image {
    let _hold = store.hold().unwrap();
    let layers: Vec<Layer> = contents.iter().map(|&content| layer(store, content)).collect();
    store.create_image(json!({ "os": "linux", "architecture": "amd64" }), &layers, names).unwrap()
}

/// What must be there.
#[derive(Default)]
struct Model {
    /// By contents, with names.
    images: BTreeMap<Vec<u8>, BTreeSet<u8>>,
    containers: BTreeMap<u8, (Vec<u8>, Vec<PathBuf>)>,
}

impl Model {
    fn of(&self, name: u8) -> Option<Vec<u8>> {
        self.images.iter().find(|(_, names)| names.contains(&name)).map(|(contents, _)| contents.clone())
    }

    fn take_name(&mut self, name: u8) {
        for names in self.images.values_mut() {
            names.remove(&name);
        }
    }

    fn used(&self) -> Vec<PathBuf> {
        self.containers.values().flat_map(|(_, layers)| layers.clone()).collect()
    }

    /// Everything that should be there is, and whole.
    fn check(&self, store: &Store) {
        let images = store.images().unwrap();
        let found: BTreeSet<Vec<String>> =
            images.iter().map(|image| image.names().iter().map(Reference::familiar).collect()).collect();
        let wanted = |names: &BTreeSet<u8>| names.iter().map(|&number| name(number).familiar()).collect::<Vec<_>>();
        assert_eq!(found, self.images.values().map(wanted).collect());
        assert_eq!(images.len(), self.images.len());
        for image in images {
            assert!(store.layers(&image).unwrap().iter().all(|layer| layer.is_dir()));
        }
        for layer in self.used() {
            let content = fs::read_dir(&layer).unwrap().next().unwrap().unwrap().path();
            assert_eq!(fs::read(content).unwrap().len(), 10);
        }
    }

    fn take(&mut self, store: &Store, step: &Step) {
        match step {
            Step::Add(contents, named) => {
                let names: Vec<Reference> = named.iter().map(|&number| name(number)).collect();
                add(store, contents, &names);
                named.iter().for_each(|&number| self.take_name(number));
                self.images.entry(contents.clone()).or_default().extend(named);
            }
            Step::Tag(from, to) => {
                let Some(contents) = self.of(*from) else { return };
                store.tag(&name(*from).to_string(), &name(*to)).unwrap();
                self.take_name(*to);
                self.images.entry(contents).or_default().insert(*to);
            }
            Step::Create(container, from) => {
                let Some(contents) = self.of(*from) else { return };
                let layers = store.layers(&store.resolve(&name(*from).to_string()).unwrap()).unwrap();
                self.containers.insert(*container, (contents, layers));
            }
            Step::Remove(container) => drop(self.containers.remove(container)),
            Step::Untag(number) => {
                if self.of(*number).is_none() {
                    return;
                }
                let alone = store.alone().unwrap();
                let image = store.resolve(&name(*number).to_string()).unwrap();
                alone.untag(&image, &name(*number)).unwrap();
                self.take_name(*number);
            }
            Step::Forget(number) => {
                let Some(contents) = self.of(*number) else { return };
                let alone = store.alone().unwrap();
                alone.forget(&store.resolve(&name(*number).to_string()).unwrap()).unwrap();
                self.images.remove(&contents);
            }
            Step::Prune => {
                let alone = store.alone().unwrap();
                let in_use: Vec<Vec<u8>> = self.containers.values().map(|(contents, _)| contents.clone()).collect();
                for image in store.images().unwrap().iter().filter(|image| image.names().is_empty()) {
                    let layers = store.layers(image).unwrap();
                    if !self.containers.values().any(|(_, used)| *used == layers) {
                        alone.forget(image).unwrap();
                    }
                }
                self.images.retain(|contents, names| {
                    !names.is_empty() || in_use.iter().any(|used| stacked(used) == stacked(contents))
                });
                alone.collect(&self.used()).unwrap();
            }
            Step::Stray(content) => drop(layer(store, *content)),
            Step::Litter => {
                fs::create_dir_all(store.staging_path().join("left/diff")).unwrap();
                fs::write(store.root().join("names/.left.tmp"), "{").unwrap();
            }
            Step::Collect => drop(store.alone().unwrap().collect(&self.used()).unwrap()),
        }
    }
}

/// What overlayfs sees of layers: of those that occur twice the upper one.
fn stacked(contents: &[u8]) -> Vec<u8> {
    let mut all: Vec<u8> = Vec::new();
    for content in contents {
        all.retain(|other| other != content);
        all.push(*content);
    }
    all
}

fn left(root: &Path) -> Vec<PathBuf> {
    let list = |folder: &str| fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
    ["blobs", "layers", "names", "partial", "staging"].into_iter().flat_map(list).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_in_use_stays_and_the_rest_goes(steps in proptest::collection::vec(step(), 1..30)) {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let mut model = Model::default();
        for step in &steps {
            model.take(&store, step);
            model.check(&store);
        }
        // With nothing left that leads to anything, nothing is left.
        let alone = store.alone().unwrap();
        for image in store.images().unwrap() {
            alone.forget(&image).unwrap();
        }
        alone.collect(&model.used()).unwrap();
        drop(alone);
        model.images.clear();
        model.check(&store);
        store.alone().unwrap().collect(&[]).unwrap();
        prop_assert_eq!(left(temp.path()), Vec::<PathBuf>::new());
    }
}

/// Whoever adds and whoever removes, at the same time: what was found under a hold is there as long as it is held.
#[test]
fn nobody_loses_what_is_held() {
    let temp = tempfile::tempdir().unwrap();
    let done = AtomicBool::new(false);
    let open = || Store::open(temp.path()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3u8 {
            scope.spawn(move || {
                let store = open();
                for round in 0..15 {
                    let hold = store.hold().unwrap();
                    let image = add(&store, &[thread, round % 4, 9], &[name(thread)]);
                    let layers = store.layers(&image).unwrap();
                    std::thread::yield_now();
                    assert!(layers.iter().all(|layer| fs::read_dir(layer).unwrap().count() == 1));
                    let found = store.resolve(&name(thread).to_string()).unwrap();
                    assert_eq!(found.id(), image.id());
                    drop(hold);
                }
            });
        }
        let remover = scope.spawn(|| {
            let store = open();
            while !done.load(Ordering::Relaxed) {
                let alone = store.alone().unwrap();
                for image in store.images().unwrap() {
                    alone.forget(&image).unwrap();
                }
                alone.collect(&[]).unwrap();
                drop(alone);
                std::thread::yield_now();
            }
        });
        std::thread::sleep(std::time::Duration::from_millis(300));
        done.store(true, Ordering::Relaxed);
        remover.join().unwrap();
    });
    let store = open();
    let alone = store.alone().unwrap();
    store.images().unwrap().iter().for_each(|image| alone.forget(image).unwrap());
    alone.collect(&[]).unwrap();
    assert_eq!(left(temp.path()), Vec::<PathBuf>::new());
}
