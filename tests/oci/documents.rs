//! Manifests, indexes, configurations and layouts that lie.

use serde_json::{Value, json};

use crate::content::{digest, noise};
use crate::image::{CONFIG, INDEX, Image, LAYER, MANIFEST, descriptor};
use crate::place::Place;
use crate::registry::{Registry, Reply, Then};
use crate::tar::{SYMLINK, Tar};

fn image() -> Image {
    Image::new(&[Tar::new().file("a", noise(1000)).end()])
}

fn refused(registry: &Registry, words: &[&str]) {
    Place::new().refuses(&["pull", "--retry", "0", &registry.name()], words);
}

fn refused_image(image: &Image, words: &[&str]) {
    refused(&Registry::of(image), words);
}

/// A registry whose tag leads to these bytes.
fn tagged(image: &Image, media_type: &'static str, bytes: Vec<u8>) -> Registry {
    Registry::with(image, move |request| {
        request.path.ends_with("/manifests/latest").then(|| Reply::ok(&bytes).with("Content-Type", media_type))
    })
}

/// A configuration other than the one that belongs to the layers.
fn configured(change: impl Fn(&mut Value)) -> Image {
    let mut image = image();
    let mut config: Value = serde_json::from_slice(&image.config).unwrap();
    change(&mut config);
    image.config = config.to_string().into();
    image.describe();
    image
}

#[test]
fn an_honest_image() {
    let image = image();
    let registry = Registry::of(&image);
    let place = Place::new();
    assert_eq!(place.accepts(&["pull", "-q", &registry.name()]).trim(), format!("{}:latest", registry.name()));
    assert_eq!(place.accepts(&["images", "-q", "--no-trunc"]).trim(), digest(&image.config));
    assert!(place.layer().join("a").exists());
    let by_digest = format!("{}@{}", registry.name(), digest(&image.manifest_bytes()));
    place.accepts(&["pull", "-q", &by_digest]);
}

#[test]
fn a_layer_of_another_digest() {
    let mut image = image();
    image.manifest["layers"][0]["digest"] = json!(digest(b"other"));
    let blob = image.layers[0].clone();
    let registry = Registry::with(&image, move |request| {
        request.path.ends_with(&digest(b"other")).then(|| Reply::ok(&blob).ranged(request))
    });
    refused(&registry, &["does not match its digest", "layer"]);
}

#[test]
fn a_layer_that_unpacks_to_another_digest() {
    let image =
        configured(|config| config["rootfs"]["diff_ids"][0] = json!(digest(b"what an attacker wants to replace")));
    refused_image(&image, &["uncompressed layer", "does not match its digest"]);
}

#[test]
fn a_layer_of_another_size() {
    for (change, words) in [(-1i64, "bytes"), (1, "bytes")] {
        let mut image = image();
        let size = image.layers[0].len() as i64 + change;
        image.manifest["layers"][0]["size"] = json!(size);
        refused_image(&image, &["expected", words]);
        // No length is said, so it must be found out.
        let registry = Registry::with(&image, {
            let blob = image.layers[0].clone();
            move |request| request.path.ends_with(&digest(&blob)).then(|| Reply::ok(&blob).length(None))
        });
        refused(&registry, if change > 0 { &["blob", "closed early"] } else { &["layer", "digest"] });
    }
}

#[test]
fn a_configuration_of_another_digest() {
    let image = image();
    let path = format!("/v2/test/blobs/{}", digest(&image.config));
    let mut other = image.config.clone();
    let at = other.iter().position(|&byte| byte == b'b').unwrap();
    other[at] = b'c';
    let registry = Registry::with(&image, move |request| (request.path == path).then(|| Reply::ok(&other)));
    refused(&registry, &["image configuration", "does not match its digest"]);
}

#[test]
fn a_manifest_of_another_digest() {
    let image = image();
    let wanted = digest(b"another manifest");
    let bytes = image.manifest_bytes();
    let registry =
        Registry::with(&image, move |request| request.path.contains("/manifests/").then(|| Reply::ok(&bytes)));
    let name = format!("{}@{wanted}", registry.name());
    Place::new().refuses(&["pull", &name], &["manifest", "does not match its digest"]);
}

#[test]
fn go_2022_0360_layers_and_manifests() {
    let mut image = image();
    image.manifest["manifests"] = json!([]);
    refused_image(&image, &["both", "manifests", "layers"]);
    image.manifest["mediaType"] = json!(INDEX);
    refused_image(&image, &["both"]);
    let registry = tagged(&image, INDEX, image.manifest_bytes());
    refused(&registry, &["both"]);
}

#[test]
fn a_document_that_contradicts_its_type() {
    let image = image();
    refused(&tagged(&image, INDEX, image.manifest_bytes()), &["type"]);
    let index = json!({ "schemaVersion": 2, "manifests": [] });
    refused(&tagged(&image, MANIFEST, index.to_string().into()), &["type"]);
}

#[test]
fn a_key_that_occurs_twice() {
    let image = image();
    let twice = image.manifest.to_string().replacen("{", r#"{"layers":[],"#, 1);
    refused(&tagged(&image, MANIFEST, twice.into()), &["duplicate field"]);
}

#[test]
fn unknown_media_types() {
    for (part, media_type, words) in [
        ("layer", "application/vnd.oci.image.layer.v1.tar+lzma", ["unsupported type", "lzma"]),
        ("layer", "", ["unsupported type", "layer"]),
        ("layer", "text/html", ["unsupported type", "text/html"]),
        ("config", "application/vnd.cncf.helm.config.v1+json", ["artifact", "not a container image"]),
    ] {
        let mut image = image();
        let place = if part == "layer" { &mut image.manifest["layers"][0] } else { &mut image.manifest["config"] };
        place["mediaType"] = json!(media_type);
        refused_image(&image, &words);
    }
}

#[test]
fn what_is_no_manifest() {
    let image = image();
    for (bytes, words) in [
        ("", "manifest"),
        ("null", "no JSON object"),
        ("[2]", "no JSON object"),
        ("<html>", "no JSON object"),
        ("{}", "schemaVersion"),
        (r#"{"schemaVersion":1,"fsLayers":[]}"#, "schema 1"),
        (r#"{"schemaVersion":2}"#, "config"),
        (r#"{"schemaVersion":2,"config":{"digest":"sha256:../../etc/passwd","size":1},"layers":[]}"#, "digest"),
        (r#"{"schemaVersion":2,"config":{"digest":"md5:00","size":1},"layers":[]}"#, "digest"),
        (r#"{"schemaVersion":2,"config":{"size":1},"layers":[]}"#, "digest"),
        ("{\"schemaVersion\":2,\"x\":\"\u{1b}[31m\",\"config\":\"\u{1b}[31m\"}", "manifest"),
    ] {
        refused(&tagged(&image, MANIFEST, bytes.into()), &[words]);
    }
    let deep = format!("{}{}", r#"{"x":"#.repeat(200_000), "}".repeat(200_000));
    refused(&tagged(&image, MANIFEST, deep.into()), &["manifest"]);
    let negative = image.manifest.to_string().replacen(r#""size":"#, r#""size":-"#, 1);
    refused(&tagged(&image, MANIFEST, negative.into()), &["manifest"]);
}

#[test]
fn documents_without_an_end() {
    let image = image();
    let endless = |reply: Reply| {
        Registry::with(&image, move |request| {
            request.path.ends_with("/manifests/latest").then(|| reply.clone().then(Then::Repeat))
        })
    };
    refused(&endless(Reply::ok(vec![b' '; 100_000]).length(None)), &["manifest", "limit"]);
    refused(&endless(Reply::ok(vec![b' '; 100_000]).chunked()), &["manifest", "limit"]);
    let path = format!("/v2/test/blobs/{}", digest(&image.config));
    let registry = Registry::with(&image, move |request| {
        (request.path == path).then(|| Reply::ok(vec![b' '; 100_000]).chunked().then(Then::Repeat))
    });
    refused(&registry, &["image configuration", "limit"]);
    let mut image = self::image();
    image.manifest["config"]["size"] = json!(1u64 << 50);
    refused_image(&image, &["image configuration", "limit"]);
}

#[test]
fn more_layers_than_can_be_stacked() {
    let mut image = image();
    let layer = image.manifest["layers"][0].clone();
    image.manifest["layers"] = json!(vec![layer; 501]);
    refused_image(&image, &["501 layers", "500"]);
}

#[test]
fn sizes_that_overflow_together() {
    let mut image = image();
    let mut layer = image.manifest["layers"][0].clone();
    layer["size"] = json!(u64::MAX);
    image.manifest["layers"] = json!([layer, layer]);
    let config = json!({
        "architecture": crate::image::architecture(), "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [digest(b"1"), digest(b"2")] },
    });
    image.config = config.to_string().into();
    image.manifest["config"] = descriptor(CONFIG, &image.config);
    refused_image(&image, &["expected 18446744073709551615 bytes"]);
}

#[test]
fn configurations_that_do_not_fit() {
    let diff_ids = |ids: Value| configured(move |config| config["rootfs"]["diff_ids"] = ids.clone());
    refused_image(&diff_ids(json!([])), &["0 diff_ids", "1 layers"]);
    refused_image(&diff_ids(json!([digest(b"1"), digest(b"2")])), &["2 diff_ids"]);
    refused_image(&diff_ids(json!(["sha256:../../x"])), &["digest"]);
    refused_image(&configured(|config| config["rootfs"]["type"] = json!("other")), &["rootfs.type"]);
    refused_image(&configured(|config| config["rootfs"] = json!(null)), &["image configuration"]);
    refused_image(&configured(|config| *config = json!([])), &["image configuration"]);
    refused_image(&configured(|config| config["architecture"] = json!("s390x")), &["platform", "s390x"]);
    refused_image(&configured(|config| config["os"] = json!("windows")), &["platform", "windows"]);
}

#[test]
fn an_index_for_another_platform() {
    let image = image();
    let mut entry = descriptor(MANIFEST, &image.manifest_bytes());
    entry["platform"] = json!({ "os": "linux", "architecture": "s390x" });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
    let registry = tagged(&image, INDEX, index.into());
    refused(&registry, &["no image for platform", "offered: linux/s390x"]);
    // It was asked for, and what comes is of another all the same.
    let place = Place::new();
    place.refuses(&["pull", "--platform", "linux/s390x", &registry.name()], &["no image for platform linux/s390x"]);
    let empty = json!({ "schemaVersion": 2, "manifests": [] }).to_string();
    refused(&tagged(&image, INDEX, empty.into()), &["no image for platform", "nothing"]);
}

#[test]
fn an_index_that_leads_to_itself() {
    let image = image();
    let inner = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] }).to_string();
    let mut entry = descriptor(INDEX, inner.as_bytes());
    entry["platform"] = json!({ "os": "linux", "architecture": crate::image::architecture() });
    let outer = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
    let registry = Registry::with(&image, move |request| match request.path.as_str() {
        path if path.ends_with("latest") => Some(Reply::ok(&outer).with("Content-Type", INDEX)),
        path if path.contains("/manifests/") => Some(Reply::ok(&inner).with("Content-Type", INDEX)),
        _ => None,
    });
    refused(&registry, &["another index"]);
}

#[test]
fn an_image_that_is_not_there() {
    let image = image();
    refused(&Registry::with(&image, |request| (request.path != "/v2/").then(|| Reply::new(404, "{}"))), &["not found"]);
    let mut image = image;
    image.manifest["layers"][0]["digest"] = json!(digest(b"missing"));
    refused_image(&image, &["not found"]);
}

#[test]
fn names_that_are_none() {
    for name in ["", "a/Upper", "a/../b", "127.0.0.1:1/../../x", "a@sha256:xyz", "http://x/y", "a:b:c", "a b", "-x/y"] {
        Place::new().ctr(&["pull", "--", name]).failed(&["invalid image reference"]);
    }
}

fn saved_refused(tar: Tar, words: &[&str]) {
    let place = Place::new();
    let file = place.input("saved.tar", &tar.end());
    place.refuses(&["load", "-i", file.to_str().unwrap()], words);
}

#[test]
fn saved_archives_that_lie() {
    let image = image();
    let manifest = |config: &str, layers: Value, tags: Value| {
        json!([{ "Config": config, "RepoTags": tags, "Layers": layers }]).to_string()
    };
    let config = String::from_utf8(image.config.clone()).unwrap();
    let with = |manifest: String| Tar::new().file("manifest.json", manifest).file("c.json", &config);
    let one = json!(["l.tar"]);
    saved_refused(Tar::new().file("x", "x"), &["neither manifest.json"]);
    saved_refused(with(manifest("../../../../etc/passwd", one.clone(), json!([]))), &["missing"]);
    saved_refused(with(manifest("/etc/passwd", one.clone(), json!([]))), &["missing"]);
    saved_refused(with(manifest("c.json", one.clone(), json!([]))), &["layer", "missing"]);
    saved_refused(with(manifest("c.json", json!(["/etc/passwd"]), json!([]))), &["layer", "missing"]);
    saved_refused(with(manifest("c.json", one.clone(), json!(["../../x"]))), &["invalid image reference"]);
    saved_refused(with(manifest("c.json", one.clone(), json!([]))).file("l.tar", "x"), &["archive"]);
    let other = Tar::new().file("a", "other").end();
    saved_refused(
        with(manifest("c.json", one.clone(), json!([]))).file("l.tar", other),
        &["does not match its digest"],
    );
    let looped = with(manifest("c.json", one.clone(), json!([]))).symlink("l.tar", "m.tar").symlink("m.tar", "l.tar");
    saved_refused(looped, &["too many links"]);
    let escape = with(manifest("c.json", one, json!([]))).member(SYMLINK, "l.tar", "/etc/passwd", 0o777, b"");
    saved_refused(escape, &["layer", "missing"]);
    saved_refused(with("{}".into()), &["manifest.json"]);
}

#[test]
fn layouts_that_lie() {
    let image = image();
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", crate::content::hex(bytes));
    type Change<'a> = &'a dyn Fn(&str, Vec<u8>) -> Option<Vec<u8>>;
    let write = |place: &Place, change: Change<'_>| {
        let mut folder = None;
        for (name, bytes) in image.layout() {
            if let Some(bytes) = change(&name, bytes) {
                let path = place.input(&format!("layout/{name}"), &bytes);
                folder = path.ancestors().find(|path| path.ends_with("layout")).map(ToOwned::to_owned).or(folder);
            }
        }
        folder.unwrap().to_str().unwrap().to_owned()
    };
    let layer = blob(&image.layers[0]);
    let config = blob(&image.config);
    let place = Place::new();
    let folder = write(&place, &|name, bytes| (name != layer).then_some(bytes));
    place.refuses(&["load", "-i", &folder], &["layer", "missing"]);
    // A blob that is a link out of the layout, or no file at all.
    let path = format!("{folder}/{layer}");
    std::os::unix::fs::symlink(place.outside().join("canary"), &path).unwrap();
    place.refuses(&["load", "-i", &folder], &["opening", "blobs"]);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    place.refuses(&["load", "-i", &folder], &["regular file"]);
    std::fs::remove_dir(&path).unwrap();
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
    nix::unistd::mkfifo(path.as_str(), mode).unwrap();
    place.refuses(&["load", "-i", &folder], &["regular file"]);
    std::fs::remove_file(&path).unwrap();
    let folder = write(&place, &|name, bytes| Some(if name == layer { noise(bytes.len()) } else { bytes }));
    place.refuses(&["load", "-i", &folder], &["does not match its digest"]);
    let folder = write(&place, &|name, bytes| Some(if name == config { noise(bytes.len()) } else { bytes }));
    place.refuses(&["load", "-i", &folder], &["does not match its digest"]);
    let folder = write(&place, &|name, bytes| Some(if name == "index.json" { b"{}".to_vec() } else { bytes }));
    place.refuses(&["load", "-i", &folder], &["schemaVersion"]);
}

#[test]
fn an_image_whose_second_layer_is_refused_leaves_no_name() {
    let image = Image::new(&[Tar::new().file("a", "x").end(), Tar::new().file("../a", "x").end()]);
    let registry = Registry::of(&image);
    let place = Place::new();
    place.ctr(&["pull", &registry.name()]).failed(&["`..`"]);
    // The first layer is whole and may stay until images are removed; nothing leads to it.
    let kept = place.kept();
    assert!(kept.iter().all(|name| name.starts_with("layers/")) && kept.len() <= 1, "{kept:?}");
    assert!(!place.ctr(&["images"]).out.contains("test"));
    assert_eq!(LAYER, image.manifest["layers"][0]["mediaType"]);
}

#[test]
fn sizes_of_layers_that_are_there_already() {
    // They are not fetched, so nothing shows that their sizes are wrong; their sum must not overflow.
    let image = image();
    let place = Place::new();
    place.accepts(&["pull", "-q", &Registry::of(&image).name()]);
    let mut liar = Image::new(&[image.archives[0].clone(), image.archives[0].clone()]);
    for layer in 0..2 {
        liar.manifest["layers"][layer]["size"] = json!(u64::MAX);
    }
    let registry = Registry::of(&liar);
    place.accepts(&["pull", "-q", &registry.name()]);
    assert!(place.accepts(&["images"]).contains(&registry.host()));
    place.accepts(&["rmi", &registry.name()]);
}

#[test]
fn the_compression_is_told_by_the_content() {
    let archive = Tar::new().file("a", "x").end();
    for blob in [archive.clone(), crate::content::zstd(&archive), crate::content::gzip(&archive)] {
        for media_type in ["tar", "tar+gzip", "tar+zstd"] {
            let mut image = Image::packed(std::slice::from_ref(&archive), vec![blob.clone()]);
            image.manifest["layers"][0]["mediaType"] =
                json!(format!("application/vnd.oci.image.layer.v1.{media_type}"));
            Place::new().accepts(&["pull", "-q", &Registry::of(&image).name()]);
        }
    }
}

#[test]
fn a_layout_of_several_platforms() {
    let image = image();
    let manifest = image.manifest_bytes();
    let mut ours = descriptor(MANIFEST, &manifest);
    ours["platform"] = json!({ "os": "linux", "architecture": crate::image::architecture() });
    ours["annotations"] = json!({ "org.opencontainers.image.ref.name": "ours" });
    let mut other = descriptor(MANIFEST, b"it is not even there");
    other["platform"] = json!({ "os": "linux", "architecture": "s390x" });
    let place = Place::new();
    let load = |entries: Value| {
        let mut folder = String::new();
        for (name, bytes) in image.layout() {
            let index = json!({ "schemaVersion": 2, "manifests": entries }).to_string();
            let path =
                place.input(&format!("layout/{name}"), if name == "index.json" { index.as_bytes() } else { &bytes });
            folder = path.parent().unwrap().to_str().unwrap().to_owned();
        }
        place.ctr(&["load", "-i", &folder])
    };
    load(json!([other])).failed(&["no image for platform", "s390x"]);
    let outcome = load(json!([other, ours]));
    assert_eq!((outcome.code, outcome.out.trim()), (Some(0), "Loaded image: localhost/loaded:ours"), "{}", outcome.err);
}

#[test]
fn a_pull_mends_a_damaged_document() {
    let image = image();
    let registry = Registry::of(&image);
    let place = Place::new();
    place.accepts(&["pull", "-q", &registry.name()]);
    for document in [&image.config, &image.manifest_bytes()] {
        let file = place.images().join("blobs").join(crate::content::hex(document));
        std::fs::write(&file, "").unwrap();
        assert!(!place.accepts(&["images"]).contains(&registry.host()));
        place.accepts(&["pull", "-q", &registry.name()]);
        assert!(place.accepts(&["images"]).contains(&registry.host()));
    }
}
