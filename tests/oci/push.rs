//! `ctr push` and `ctr login`: what a registry gets, and how registries that are busy, forgetful or dishonest are met.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::content::{digest, noise};
use crate::image::Image;
use crate::place::{Outcome, Place, outcome};
use crate::registry::{Registry, Reply, Request};
use crate::tar::Tar;

/// What a registry that can be written to has.
#[derive(Default)]
struct Content {
    blobs: BTreeMap<String, Vec<u8>>,
    manifests: BTreeMap<String, Vec<u8>>,
    uploads: Vec<Vec<u8>>,
}

type Shared = Arc<Mutex<Content>>;

/// Answer as the distribution specification has it.
fn serve(content: &mut Content, request: &Request) -> Reply {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let last = path.rsplit('/').next().unwrap().to_owned();
    let number = last.parse::<usize>().ok().filter(|_| path.contains("/uploads/"));
    match (request.method.as_str(), number) {
        ("HEAD" | "GET", None) if path.contains("/blobs/sha256:") => match content.blobs.get(&last) {
            Some(blob) => Reply::ok(blob),
            None => Reply::new(404, "{}"),
        },
        ("GET", None) if path.ends_with("/tags/list") => {
            let after = parameter("last").unwrap_or_default();
            match content.manifests.keys().find(|tag| tag.as_str() > after) {
                None => Reply::ok(r#"{"tags":null}"#),
                Some(tag) => {
                    let next = format!("<{path}?last={tag}>; rel=\"next\"");
                    Reply::ok(format!(r#"{{"tags":["{tag}"]}}"#)).with("Link", &next)
                }
            }
        }
        ("GET" | "HEAD", None) if path.contains("/manifests/") => match content.manifests.get(&last) {
            Some(manifest) => Reply::ok(manifest),
            None => Reply::new(404, "{}"),
        },
        ("POST", None) => {
            let known = parameter("mount").filter(|digest| content.blobs.contains_key(*digest));
            if known.is_some() {
                return Reply::new(201, "");
            }
            content.uploads.push(Vec::new());
            let location = format!("{path}{}?state=x", content.uploads.len() - 1);
            Reply::new(202, "").with("Location", &location)
        }
        ("GET", Some(at)) => {
            let range = format!("0-{}", content.uploads[at].len().saturating_sub(1));
            Reply::new(204, "").length(None).with("Range", &range).with("Location", path)
        }
        ("PATCH", Some(at)) => {
            let from = content.uploads[at].len();
            let said = request.header("content-range").unwrap();
            assert_eq!(said, format!("{from}-{}", from + request.body.len() - 1));
            content.uploads[at].extend(&request.body);
            Reply::new(202, "").with("Location", path)
        }
        ("PUT", Some(at)) => {
            let mut blob = std::mem::take(&mut content.uploads[at]);
            blob.extend(&request.body);
            let said = parameter("digest").unwrap();
            if said != digest(&blob) {
                return Reply::new(400, r#"{"errors":[{"code":"DIGEST_INVALID","message":"it is another"}]}"#);
            }
            content.blobs.insert(said.to_owned(), blob);
            Reply::new(201, "")
        }
        ("PUT", None) => {
            content.manifests.insert(last, request.body.clone());
            Reply::new(201, "").with("Docker-Content-Digest", &digest(&request.body))
        }
        _ => Reply::ok("{}"),
    }
}

/// A registry; `answer` comes first.
fn registry(answer: impl Fn(&mut Content, &Request) -> Option<Reply> + Send + Sync + 'static) -> (Registry, Shared) {
    let content = Shared::default();
    let served = content.clone();
    let registry = Registry::start(Vec::new(), move |request| {
        let mut content = served.lock().unwrap();
        let first = answer(&mut content, request);
        Some(first.unwrap_or_else(|| serve(&mut content, request)))
    });
    (registry, content)
}

fn image() -> Image {
    Image::new(&[Tar::new().file("a", noise(3 << 20)).end(), Tar::new().file("b", "second").end()])
}

/// A store with the image under the registry's name.
fn place(registry: &Registry) -> Place {
    let place = Place::new();
    let file = place.input("saved.tar", &image().saved().end());
    place.accepts(&["load", "-q", "-i", file.to_str().unwrap()]);
    place.accepts(&["tag", "test", &registry.name()]);
    place
}

#[test]
fn what_is_pushed_is_pulled() {
    let (registry, content) = registry(|_, _| None);
    let store = place(&registry);
    let said = store.accepts(&["push", &registry.name()]);
    let manifest = content.lock().unwrap().manifests["latest"].clone();
    let size = manifest.len();
    let end = format!("latest: digest: {} size: {size}\n", digest(&manifest));
    assert!(
        said.starts_with(&format!("Using default tag: latest\nThe push refers to repository [{}]\n", registry.name()))
    );
    assert!(said.ends_with(&end) && said.matches(": Pushed\n").count() == 2, "{said}");
    let again = store.accepts(&["push", &registry.name()]);
    assert!(again.matches(": Layer already exists\n").count() == 2 && again.ends_with(&end), "{again}");
    assert!(store.accepts(&["images", "--digests", &registry.name()]).contains(&digest(&manifest)));
    let other = Place::new();
    other.accepts(&["pull", "-q", &registry.name()]);
    let id = other.accepts(&["images", "-q", "--no-trunc"]);
    assert_eq!(id.trim(), digest(&image().config), "the image is the same");
    // What was pulled is pushed as it came, from the other repository.
    let second = registry.name().replace("/test", "/second:1");
    other.accepts(&["tag", &registry.name(), &second]);
    let said = other.accepts(&["push", &second]);
    assert!(said.ends_with(&end.replace("latest", "1")) && said.contains(": Layer already exists"), "{said}");
}

#[test]
fn layers_are_mounted_from_other_repositories() {
    // A blob is in a repository only if it was put or mounted there.
    let (registry, _content) = registry(|_, request| {
        let elsewhere = request.method == "HEAD" && request.path.contains("/second/blobs/");
        elsewhere.then(|| Reply::new(404, "{}"))
    });
    let store = place(&registry);
    store.accepts(&["push", "-q", &registry.name()]);
    let second = registry.name().replace("/test", "/second");
    store.accepts(&["tag", "test", &second]);
    let said = store.accepts(&["push", &second]);
    assert_eq!(said.matches(": Mounted from test\n").count(), 2, "{said}");
    assert!(registry.asked().iter().any(|request| request.path.contains("&from=test")));
}

#[test]
fn an_upload_goes_on_where_it_broke_off() {
    let broken = Mutex::new(0);
    let (registry, content) = registry(move |content, request| {
        let mut broken = broken.lock().unwrap();
        if request.method == "PUT" && request.body.len() > 1 << 20 && *broken < 2 {
            *broken += 1;
            let at: usize = request.path.split('?').next()?.rsplit('/').next()?.parse().ok()?;
            content.uploads[at].extend(&request.body[..1 << 20]);
            return Some(Reply::new(503, "{}"));
        }
        None
    });
    place(&registry).accepts(&["push", "-q", &registry.name()]);
    assert!(content.lock().unwrap().manifests.contains_key("latest"));
    let patched: Vec<_> = registry.asked().into_iter().filter(|request| request.method == "PATCH").collect();
    assert_eq!(patched.len(), 1);
    assert!(patched[0].header("content-range").unwrap().starts_with("1048576-"));
}

#[test]
fn an_upload_that_the_registry_forgot_begins_anew() {
    let broken = Mutex::new(false);
    let (registry, _) = registry(move |_, request| match request.method.as_str() {
        "PUT" if request.path.contains("/uploads/") && !std::mem::replace(&mut *broken.lock().unwrap(), true) => {
            Some(Reply::new(500, "{}"))
        }
        "GET" if request.path.contains("/uploads/") => Some(Reply::new(404, "{}")),
        _ => None,
    });
    place(&registry).accepts(&["push", "-q", &registry.name()]);
}

fn refuses(
    options: &[&str],
    words: &[&str],
    answer: impl Fn(&mut Content, &Request) -> Option<Reply> + Send + Sync + 'static,
) {
    let (registry, content) = registry(answer);
    let store = place(&registry);
    let kept = store.kept();
    store.ctr(&[&["push", "--retry", "1"], options, &[&registry.name()]].concat()).failed(words);
    store.untouched();
    assert!(content.lock().unwrap().manifests.is_empty());
    let packed = |names: Vec<String>| names.into_iter().filter(|name| !name.starts_with("layers/")).collect::<Vec<_>>();
    assert_eq!(packed(store.kept()), packed(kept), "left behind");
}

#[test]
fn registries_that_refuse() {
    refuses(&[], &["denied", "no"], |_, request| {
        (request.method == "POST").then(|| Reply::new(403, r#"{"errors":[{"code":"DENIED","message":"no"}]}"#))
    });
    refuses(&[], &["the registry answered 400", "it is another"], |_, request| {
        let reply = || Reply::new(400, r#"{"errors":[{"code":"DIGEST_INVALID","message":"it is another"}]}"#);
        (request.method == "PUT").then(reply)
    });
    refuses(&[], &["the registry answered 503"], |_, request| (request.method == "PUT").then(|| Reply::new(503, "{}")));
    refuses(&[], &["redirect to nowhere"], |_, request| (request.method == "POST").then(|| Reply::new(202, "")));
    refuses(&[], &["as the registry stored it", "does not match its digest"], |_, request| {
        let lie = || Reply::new(201, "").with("Docker-Content-Digest", &digest(b"other"));
        (request.method == "PUT" && request.path.contains("/manifests/")).then(lie)
    });
}

#[test]
fn credentials_stay_at_home_while_a_blob_goes_elsewhere() {
    let (other, _) = registry(|_, _| Some(Reply::new(201, "")));
    let other = Arc::new(other);
    let host = other.host();
    let (registry, _) = registry(move |_, request| {
        if request.header("authorization").is_none() {
            return Some(Reply::unauthorized("Basic realm=x"));
        }
        let away = || Reply::new(202, "").with("Location", &format!("http://{host}/upload/1"));
        (request.method == "POST").then(away)
    });
    let store = place(&registry);
    store.accepts(&["push", "-q", "--creds", "user:secret", &registry.name()]);
    assert!(other.asked().len() >= 3);
    assert!(other.asked().iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn a_token_is_asked_for_with_the_right_to_push() {
    let (service, _) = registry(|_, _| Some(Reply::ok(r#"{"token":"t"}"#)));
    let service = Arc::new(service);
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", service.host());
    let (registry, _) =
        registry(move |_, request| request.header("authorization").is_none().then(|| Reply::unauthorized(&realm)));
    place(&registry).accepts(&["push", "-q", &registry.name()]);
    let asked = service.asked();
    assert!(asked.iter().all(|request| request.path.contains("scope=repository:test:pull,push")), "{asked:?}");
}

#[test]
fn what_cannot_be_pushed() {
    let place = Place::new();
    let name = "127.0.0.1:1/test";
    place.refuses(&["push", name], &["An image does not exist locally with the tag: 127.0.0.1:1/test"]);
    place.refuses(&["push", "-a", &format!("{name}:1")], &["tag can't be used with --all-tags/-a"]);
    place.refuses(&["push", &format!("{name}@{}", digest(b""))], &["cannot push a digest reference"]);
}

#[test]
fn all_tags() {
    let (registry, content) = registry(|_, _| None);
    let store = place(&registry);
    store.accepts(&["tag", "test", &format!("{}:second", registry.name())]);
    store.accepts(&["push", "-a", &registry.name()]);
    assert_eq!(content.lock().unwrap().manifests.keys().collect::<Vec<_>>(), ["latest", "second"]);
    // And back, page by page.
    let other = Place::new();
    other.accepts(&["pull", "-q", "-a", &registry.name()]);
    let names = other.accepts(&["images", "--format", "{{.Tag}}"]);
    assert_eq!(names, "latest\nsecond\n");
    assert!(registry.asked().iter().any(|request| request.path.ends_with("/tags/list?last=latest")));
    let with_tag = format!("{}:1", registry.name());
    other.ctr(&["pull", "-a", &with_tag]).failed(&["tag can't be used with --all-tags/-a"]);
}

/// Log in with a password on standard input.
fn log_in(place: &Place, args: &[&str], password: &str) -> Outcome {
    let mut command = place.command(&[&["login", "--password-stdin"], args].concat());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    outcome(child.wait_with_output().unwrap())
}

/// One that knows user `me` with password `secret`.
fn guarded() -> Registry {
    let wanted = format!("Basic {}", STANDARD.encode("me:secret"));
    let (registry, _) = registry(move |_, request| {
        (request.header("authorization") != Some(&wanted)).then(|| Reply::unauthorized("Basic realm=x"))
    });
    registry
}

#[test]
fn logging_in_and_out() {
    let registry = guarded();
    let host = registry.host();
    let store = place(&registry);
    store.ctr(&["push", "-q", &registry.name()]).failed(&["denied"]);
    let wrong = log_in(&store, &["-u", "me", &host], "wrong\n");
    wrong.failed(&["login attempt to", "failed with status: 401 Unauthorized"]);
    let good = log_in(&store, &["-u", "me", &host], "secret\n");
    assert_eq!((good.code, good.out.as_str()), (Some(0), "Login Succeeded\n"), "{}", good.err);
    let file = store.images().ancestors().nth(2).unwrap().join("home/.docker/config.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(kept["auths"][&host]["auth"], STANDARD.encode("me:secret"));
    store.accepts(&["push", "-q", &registry.name()]);
    assert_eq!(store.accepts(&["logout", &host]), format!("Removing login credentials for {host}\n"));
    assert_eq!(store.accepts(&["logout", &host]), format!("Not logged in to {host}\n"));
    store.ctr(&["push", "-q", &registry.name()]).failed(&["denied"]);
    store.ctr(&["login", "-u", "me", "-p", "secret", &host]).out.contains("Login Succeeded");
    store.ctr(&["login", &host]).failed(&["non TTY"]);
    log_in(&store, &[&host], "secret").failed(&["Must provide --username with --password-stdin"]);
    log_in(&store, &["-u", "me", "-p", "x", &host], "secret").failed(&["mutually exclusive"]);
}
