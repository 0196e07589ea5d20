//! Pulls that are interrupted, and pulls of the same image at the same time.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::content::{digest, gzip, hex, noise};
use crate::image::Image;
use crate::place::{Place, names, outcome};
use crate::registry::{Registry, Reply, Then};
use crate::tar::Tar;

const SIZE: usize = 4 << 20;
const HALF: usize = 2 << 20;

fn image() -> Image {
    Image::new(&[Tar::new().file("a", noise(SIZE)).end()])
}

/// A place whose store keeps what came of an interrupted pull: not one in memory.
fn on_a_disk(test: &str) -> Option<(Place, Image)> {
    let place = Place::new();
    // Magic number of tmpfs (statfs(2)).
    if rustix::fs::statfs(place.outside()).unwrap().f_type == 0x0102_1994 {
        println!("SKIP {test}: the build's folder is in memory");
        return None;
    }
    Some((place, image()))
}

/// The first request for the layer brings half of it and then nothing; the others are answered honestly.
fn stalling_once(image: &Image) -> Registry {
    let blob = image.layers[0].clone();
    let count = AtomicUsize::new(0);
    Registry::with(image, move |request| {
        let is_layer = request.path.ends_with(&digest(&blob));
        (is_layer && count.fetch_add(1, Ordering::SeqCst) == 0).then(|| Reply::ok(&blob).cut(HALF).then(Then::Stall))
    })
}

/// Wait for something that another process does.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(120), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn partial(place: &Place, image: &Image) -> std::path::PathBuf {
    place.images().join("partial").join(hex(&image.layers[0]))
}

fn start(place: &Place, registry: &Registry) -> Child {
    let mut command = place.command(&["pull", &registry.name()]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Start a pull and kill it when half of the layer is there.
fn killed_half_way(place: &Place, registry: &Registry, image: &Image) {
    let mut child = start(place, registry);
    let file = partial(place, image);
    until("half of the layer", || fs::metadata(&file).is_ok_and(|meta| meta.len() >= HALF as u64));
    child.kill().unwrap();
    child.wait().unwrap();
}

fn pulled(place: &Place, registry: &Registry) {
    place.accepts(&["pull", "-q", &registry.name()]);
    assert!(fs::read(place.layer().join("a")).unwrap() == noise(SIZE));
    assert_eq!(names(&place.images().join("partial")), [""; 0]);
}

#[test]
fn a_killed_pull_fetches_only_the_rest() {
    let Some((place, image)) = on_a_disk("a_killed_pull_fetches_only_the_rest") else { return };
    let registry = stalling_once(&image);
    killed_half_way(&place, &registry, &image);
    pulled(&place, &registry);
    assert_eq!(registry.ranges(&image.layers[0]), [None, Some(HALF)]);
}

#[test]
fn a_pull_that_failed_fetches_only_the_rest() {
    let Some((place, image)) = on_a_disk("a_pull_that_failed_fetches_only_the_rest") else { return };
    let registry = stalling_once(&image);
    place.ctr(&["pull", "--retry", "0", "--stall-timeout", "3", &registry.name()]).failed(&["timeout"]);
    assert_eq!(place.kept(), [format!("partial/{}", hex(&image.layers[0]))]);
    let outcome = place.ctr(&["pull", &registry.name()]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    assert!(outcome.err.contains("going on after 2048 of"), "{}", outcome.err);
    assert_eq!(registry.ranges(&image.layers[0]), [None, Some(HALF)]);
}

#[test]
fn a_damaged_partial_is_fetched_anew() {
    let Some((place, image)) = on_a_disk("a_damaged_partial_is_fetched_anew") else { return };
    let registry = stalling_once(&image);
    killed_half_way(&place, &registry, &image);
    let file = partial(&place, &image);
    let mut bytes = fs::read(&file).unwrap();
    bytes[HALF / 2..].fill(0);
    fs::write(&file, bytes).unwrap();
    pulled(&place, &registry);
    assert_eq!(registry.ranges(&image.layers[0]), [None, Some(HALF), None]);
}

#[test]
fn a_partial_that_is_no_beginning() {
    let Some((place, image)) = on_a_disk("a_partial_that_is_no_beginning") else { return };
    let registry = Registry::of(&image);
    place.accepts(&["images"]);
    // Longer than the blob: not even asked about.
    fs::write(partial(&place, &image), noise(2 * SIZE)).unwrap();
    pulled(&place, &registry);
    assert_eq!(registry.ranges(&image.layers[0]), [None]);
    place.accepts(&["rmi", &registry.name()]);
    // As long as the blob, and nothing of it.
    fs::write(partial(&place, &image), vec![7; image.layers[0].len()]).unwrap();
    pulled(&place, &registry);
    place.accepts(&["rmi", &registry.name()]);
    // Whole: the registry is not asked again.
    fs::write(partial(&place, &image), &image.layers[0]).unwrap();
    pulled(&place, &registry);
    assert_eq!(registry.ranges(&image.layers[0]), [None, None]);
}

#[test]
fn nothing_is_kept_of_a_layer_that_is_refused() {
    let place = Place::new();
    let mut image = image();
    let right = image.layers[0].clone();
    image.layers[0] = [&right[..SIZE / 2], &noise(right.len() - SIZE / 2)].concat();
    image.manifest["layers"][0]["digest"] = digest(&right).into();
    let registry = Registry::with(&image, {
        let wrong = image.layers[0].clone();
        move |request| request.path.ends_with(&digest(&right)).then(|| Reply::ok(&wrong).ranged(request))
    });
    place.refuses(&["pull", &registry.name()], &["does not match its digest"]);
}

#[test]
fn old_partials_are_swept() {
    let place = Place::new();
    place.accepts(&["images"]);
    let folder = place.images().join("partial");
    for (name, hours) in [("old", 48), ("new", 1)] {
        let file = fs::File::create(folder.join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
    }
    place.accepts(&["images"]);
    assert_eq!(names(&folder), ["new"]);
}

#[test]
fn two_pulls_at_the_same_time_fetch_once() {
    let (place, image) = (Place::new(), image());
    let asked = std::sync::Arc::new(AtomicUsize::new(0));
    let blob = image.layers[0].clone();
    let registry = Registry::with(&image, move |request| {
        if request.path.contains("/manifests/") {
            asked.fetch_add(1, Ordering::SeqCst);
        } else if request.path.ends_with(&digest(&blob)) {
            // Not before the other process is there, too.
            until("the second process", || asked.load(Ordering::SeqCst) >= 2);
        }
        None
    });
    let (first, second) = (start(&place, &registry), start(&place, &registry));
    for child in [first, second] {
        let outcome = outcome(child.wait_with_output().unwrap());
        assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    }
    assert_eq!(registry.ranges(&image.layers[0]), [None], "one of them fetches, the other waits");
    pulled(&place, &registry);
}

#[test]
fn a_pull_takes_over_from_one_that_is_killed() {
    let Some((place, image)) = on_a_disk("a_pull_takes_over_from_one_that_is_killed") else { return };
    let registry = stalling_once(&image);
    let mut first = start(&place, &registry);
    let file = partial(&place, &image);
    until("half of the layer", || fs::metadata(&file).is_ok_and(|meta| meta.len() >= HALF as u64));
    let mut second = start(&place, &registry);
    let mut lines = BufReader::new(second.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("waiting")));
    first.kill().unwrap();
    first.wait().unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(second.wait().unwrap().success(), "{rest:?}");
    assert_eq!(registry.ranges(&image.layers[0]), [None, Some(HALF)]);
    pulled(&place, &registry);
}

#[test]
fn what_a_killed_pull_staged_is_removed() {
    let Some((place, image)) = on_a_disk("what_a_killed_pull_staged_is_removed") else { return };
    let registry = stalling_once(&image);
    killed_half_way(&place, &registry, &image);
    assert!(place.kept().iter().any(|name| name.starts_with("staging/")));
    place.accepts(&["images"]);
    assert_eq!(place.kept(), [format!("partial/{}", hex(&image.layers[0]))]);
}

#[test]
fn pulls_killed_anywhere_leave_a_store_that_works() {
    let (place, image) = (Place::new(), image());
    let registry = Registry::of(&image);
    for round in 0..25 {
        let mut child = start(&place, &registry);
        std::thread::sleep(Duration::from_millis(round * 7));
        child.kill().unwrap();
        child.wait().unwrap();
        place.accepts(&["images"]);
        if place.images().join("layers").read_dir().unwrap().next().is_some() {
            assert!(fs::read(place.layer().join("a")).unwrap() == noise(SIZE), "half a layer in round {round}");
        }
    }
    pulled(&place, &registry);
    place.accepts(&["rmi", &registry.name()]);
    assert_eq!(place.kept(), [""; 0]);
}

/// On a disk of 72 MiB, of which 64 are left alone, the command must be refused and leave nothing behind. False where there can be no
/// such disk.
fn refused_by_a_full_disk(test: &str, place: &Place, arguments: &str) -> bool {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c"]).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let script = format!(
        r#"mkdir -p "$1" && mount -t tmpfs -o size=72m disk "$1" || exit 77
        CORACLE_STATE=$1 "$2" ctr {arguments}; status=$?
        find "$1/images" -mindepth 2; exit $status"#
    );
    let state = place.images().parent().unwrap().to_owned();
    let output = command.arg(script).arg("sh").arg(&state).arg(env!("CARGO_BIN_EXE_coracle")).output().unwrap();
    let outcome = outcome(output);
    if !crate::place::is_root() || outcome.code == Some(77) {
        println!("SKIP {test}: needs root and a mount namespace");
        return false;
    }
    outcome.failed(&["size on disk exceeds the limit", "free space"]);
    assert_eq!(outcome.out, "", "left behind");
    place.untouched();
    true
}

#[test]
fn a_full_disk() {
    let place = Place::new();
    let image = Image::new(&[Tar::new().file("big", noise(76 << 20)).end()]);
    let layer = place.input("layer.tar", &image.archives[0]);
    if !refused_by_a_full_disk("a_full_disk", &place, &format!("import {} test", layer.display())) {
        return;
    }
    // A packed archive is unpacked beside the store: it must not take the space either.
    let saved = place.input("saved.tar.gz", &gzip(&image.saved().end()));
    refused_by_a_full_disk("a_full_disk", &place, &format!("load -i {}", saved.display()));
}
