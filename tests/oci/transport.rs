//! Registries that break off, stall, lie about lengths, lead elsewhere, or ask who is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::content::{digest, noise};
use crate::image::Image;
use crate::place::Place;
use crate::registry::{Registry, Reply, Request, Then};
use crate::tar::Tar;

const SIZE: usize = 600_000;

fn image() -> Image {
    Image::new(&[Tar::new().file("a", noise(SIZE)).end()])
}

/// The first `times` requests for the layer are answered by `reply`, the others honestly.
fn at_first(image: &Image, times: usize, reply: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static) -> Registry {
    let blob = image.layers[0].clone();
    let count = AtomicUsize::new(0);
    Registry::with(image, move |request| {
        let is_layer = request.path.ends_with(&digest(&blob));
        (is_layer && count.fetch_add(1, Ordering::SeqCst) < times).then(|| reply(request, Reply::ok(&blob)))
    })
}

fn pulls(registry: &Registry, options: &[&str]) {
    let place = Place::new();
    place.accepts(&[&["pull", "-q", "--retry", "9"], options, &[&registry.name()]].concat());
    assert_eq!(std::fs::read(place.layer().join("a")).unwrap(), noise(SIZE));
    assert!(!place.kept().iter().any(|name| name.starts_with("partial")), "{:?}", place.kept());
}

/// It must fail; downloads that a later pull can go on with may stay.
fn fails(registry: &Registry, options: &[&str], words: &[&str]) -> Place {
    let place = Place::new();
    place.ctr(&[&["pull", "--retry", "1"], options, &[&registry.name()]].concat()).failed(words);
    place.untouched();
    let kept = place.kept();
    assert!(kept.iter().all(|name| name.starts_with("partial/")), "{kept:?}");
    place
}

#[test]
fn a_connection_that_is_reset_goes_on_where_it_was() {
    let image = image();
    let registry = at_first(&image, 1, |_, reply| reply.cut(200_000).then(Then::Reset));
    pulls(&registry, &[]);
    let ranges = registry.ranges(&image.layers[0]);
    assert_eq!(ranges.len(), 2);
    // A reset may take with it what the client had not read yet.
    assert!(ranges[0].is_none() && ranges[1].is_none_or(|from| from <= 200_000), "{ranges:?}");
}

#[test]
fn a_connection_that_is_closed_early_goes_on_where_it_was() {
    let image = image();
    let registry = at_first(&image, 1, |_, reply| reply.cut(200_000));
    pulls(&registry, &[]);
    assert_eq!(registry.ranges(&image.layers[0]), [None, Some(200_000)]);
    // So does one that says no length.
    let registry = at_first(&image, 1, |_, reply| reply.cut(200_000).length(None));
    pulls(&registry, &[]);
    assert_eq!(registry.ranges(&image.layers[0]), [None, Some(200_000)]);
}

#[test]
fn a_registry_that_knows_no_ranges() {
    let image = image();
    let count = AtomicUsize::new(0);
    let blob = image.layers[0].clone();
    let registry = Registry::with(&image, move |request| {
        let first = || count.fetch_add(1, Ordering::SeqCst) == 0;
        request.path.ends_with(&digest(&blob)).then(|| {
            let whole = Reply::ok(&blob);
            if first() { whole.cut(200_000) } else { whole }
        })
    });
    pulls(&registry, &[]);
    assert_eq!(registry.ranges(&image.layers[0]), [None, Some(200_000)]);
}

#[test]
fn a_registry_that_sends_another_range() {
    let image = image();
    let registry = at_first(&image, 10, |request, reply| match request.from() {
        None => reply.cut(200_000),
        Some(_) => {
            let range = format!("bytes 0-{}/{}", reply.body.len() - 1, reply.body.len());
            Reply { status: 206, ..reply }.with("Content-Range", &range)
        }
    });
    fails(&registry, &[], &["asked for bytes from 200000"]);
    let registry = at_first(&image, 10, |request, reply| match request.from() {
        None => reply.cut(200_000),
        Some(_) => Reply::new(416, "{}"),
    });
    fails(&registry, &[], &["416"]);
}

#[test]
fn a_registry_that_breaks_off_each_time() {
    let image = image();
    let registry = at_first(&image, 100, |request, reply| {
        let from = request.from().unwrap_or(0);
        let reply = reply.ranged(request);
        // A little comes every time: no progress worth another try.
        if from == 0 { reply.cut(100_000) } else { reply.cut(10) }
    });
    fails(&registry, &[], &["blob", "at byte 100010 of"]);
    assert_eq!(registry.ranges(&image.layers[0]).len(), 2, "one retry was allowed");
}

#[test]
fn lengths_that_lie() {
    let image = image();
    let real = image.layers[0].len();
    fails(
        &at_first(&image, 10, move |_, reply| reply.length(Some(real - 1))),
        &[],
        &["expected", "the registry sends"],
    );
    fails(
        &at_first(&image, 10, move |_, reply| reply.length(Some(real + 1))),
        &[],
        &["expected", "the registry sends"],
    );
    // The header is as it should be, but more comes than it says: nobody reads that.
    pulls(
        &at_first(&image, 10, move |_, mut reply| {
            reply.body.extend([0; 1000]);
            reply.length(Some(real))
        }),
        &[],
    );
    // Nothing is said: it is read to the end.
    pulls(&at_first(&image, 10, |_, reply| reply.length(None)), &[]);
    pulls(&at_first(&image, 10, |_, reply| reply.chunked()), &[]);
    let garbage = at_first(&image, 10, |_, reply| reply.length(None).with("Content-Length", "-5"));
    fails(&garbage, &[], &["blob", "content-length"]);
}

#[test]
fn a_blob_without_an_end() {
    let image = image();
    let endless = at_first(&image, 10, |_, mut reply| {
        reply.body = noise(100_000);
        reply.chunked().then(Then::Repeat)
    });
    fails(&endless, &[], &["layer"]);
}

#[test]
fn a_registry_that_stalls() {
    let image = image();
    // Long enough for what is honest on a busy machine.
    let options = ["--stall-timeout", "3"];
    pulls(&at_first(&image, 1, |_, reply| reply.cut(200_000).then(Then::Stall)), &options);
    let registry = Registry::with(&image, |request| {
        request.path.contains("manifests").then(|| Reply::ok("{").length(Some(100)).then(Then::Stall))
    });
    fails(&registry, &options, &["manifest", "timeout"]);
    fails(&at_first(&image, 10, |_, reply| reply.cut(0).then(Then::Stall)), &options, &["blob", "timeout"]);
}

#[test]
fn a_busy_registry_is_asked_again() {
    let image = image();
    for status in [429, 500, 502, 503] {
        pulls(&at_first(&image, 1, move |_, _| Reply::new(status, "busy")), &[]);
    }
    let registry = at_first(&image, 10, |_, _| {
        Reply::new(503, r#"{"errors":[{"code":"UNAVAILABLE","message":"gone \u001b[31mfishing"}]}"#)
    });
    fails(&registry, &[], &["503", "fishing"]);
    assert_eq!(registry.ranges(&image.layers[0]).len(), 2);
}

#[test]
fn what_is_no_http() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let name = format!("{}/test", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut stream, b"SSH-2.0-OpenSSH_9.2\r\n");
        }
    });
    Place::new().refuses(&["pull", "--retry", "0", &name], &["requesting http"]);
    let image = image();
    let huge = "x".repeat(1 << 20);
    let registry = Registry::with(&image, move |request| {
        request.path.contains("manifests").then(|| Reply::ok("{}").with("X-Huge", &huge))
    });
    Place::new().refuses(&["pull", "--retry", "0", &registry.name()], &["requesting"]);
    // Nobody listens.
    Place::new().refuses(&["pull", "--retry", "0", "127.0.0.1:1/test"], &["requesting", "refused"]);
}

/// The blob is elsewhere, as with registries in front of an object store.
fn redirecting(image: &Image, to: impl Fn(&str) -> String + Send + Sync + 'static) -> Registry {
    Registry::with(image, move |request| {
        let known = request.header("authorization").is_some();
        match request {
            _ if !known && request.path != "/v2/" => Some(Reply::unauthorized("Basic realm=\"r\"")),
            _ if request.is_blob() => Some(Reply::redirect(&to(&request.path))),
            _ => None,
        }
    })
}

#[test]
fn redirects_do_not_carry_credentials_to_another_host() {
    let image = image();
    let elsewhere = Arc::new(Registry::of(&image));
    let host = elsewhere.host();
    let registry = redirecting(&image, move |path| format!("http://{host}{path}"));
    let place = Place::new();
    place.accepts(&["pull", "-q", "--creds", "user:secret", &registry.name()]);
    assert!(registry.asked().iter().any(|request| request.header("authorization").is_some()));
    let asked = elsewhere.asked();
    assert!(asked.len() >= 2, "{asked:?}");
    assert!(asked.iter().all(|request| request.header("authorization").is_none()), "{asked:?}");
}

#[test]
fn redirects_that_lead_nowhere() {
    let image = image();
    for (to, words) in [
        ("file:///etc/passwd", "neither http nor https"),
        ("//127.0.0.1/x", "neither http nor https"),
        ("gopher://127.0.0.1/", "neither http nor https"),
        ("", "redirect"),
        ("http://[bad/", "unreadable"),
    ] {
        let registry = redirecting(&image, move |_| to.to_owned());
        fails(&registry, &["--creds", "u:p"], &[words]);
    }
    let registry = redirecting(&image, |path| format!("{path}?again"));
    fails(&registry, &["--creds", "u:p"], &["too many redirects"]);
    let asked = registry.asked().iter().filter(|request| request.is_blob()).count();
    assert!(asked < 20, "{asked} requests");
}

#[test]
fn basic_authentication() {
    let image = image();
    let guarded = || {
        Registry::with(&image, |request| {
            // user:secret
            let known = request.header("authorization") == Some("Basic dXNlcjpzZWNyZXQ=");
            (!known).then(|| Reply::unauthorized("Basic realm=\"x\""))
        })
    };
    pulls(&guarded(), &["--creds", "user:secret"]);
    let registry = guarded();
    fails(&registry, &["--creds", "user:wrong"], &["denied"]);
    assert!(registry.asked().len() < 10, "{} requests", registry.asked().len());
    fails(&guarded(), &[], &["denied", "--creds"]);
    // From a file, as Docker writes it.
    let registry = guarded();
    let place = Place::new();
    let auths = format!(r#"{{"auths":{{"{}":{{"auth":"dXNlcjpzZWNyZXQ="}}}}}}"#, registry.host());
    let file = place.input("auth.json", auths.as_bytes());
    place.accepts(&["pull", "-q", "--authfile", file.to_str().unwrap(), &registry.name()]);
    fails(&registry, &["--authfile", "/no/such/file"], &["auth file"]);
}

/// A token service and a registry that asks for its tokens.
fn token_service(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Arc<Registry> {
    Arc::new(Registry::start(Vec::new(), move |request| Some(answer(request))))
}

fn bearer(image: &Image, service: &Registry) -> Registry {
    let challenge = format!(
        r#"Bearer realm="http://{}/token?a=b",service="test service",scope="repository:test:pull""#,
        service.host()
    );
    Registry::with(image, move |request| {
        let known = request.header("authorization") == Some("Bearer let-me-in");
        (!known).then(|| Reply::unauthorized(&challenge))
    })
}

#[test]
fn tokens() {
    let image = image();
    let service = token_service(|_| Reply::ok(r#"{"token":"let-me-in"}"#));
    pulls(&bearer(&image, &service), &[]);
    let asked = service.asked();
    assert_eq!(asked[0].path, "/token?a=b&scope=repository:test:pull&service=test%20service");
    assert_eq!(asked[0].header("authorization"), None);
    pulls(&bearer(&image, &service), &["--creds", "user:secret"]);
    let asked = service.asked();
    assert_eq!(asked.last().unwrap().header("authorization"), Some("Basic dXNlcjpzZWNyZXQ="));
    let service = token_service(|_| Reply::ok(r#"{"access_token":"let-me-in","expires_in":300}"#));
    pulls(&bearer(&image, &service), &[]);
}

#[test]
fn tokens_that_are_none() {
    let image = image();
    let answers: [(&str, u16, &str); 7] = [
        (r#"{"token":"wrong"}"#, 200, "denied"),
        (r#"{"token":"let-me-in\r\nX-Injected: yes"}"#, 200, "malformed token"),
        (r#"{"token":""}"#, 200, "malformed token"),
        ("{}", 200, "no token"),
        ("<html>", 200, "unreadable answer"),
        (r#"{"errors":[{"code":"DENIED","message":"go away"}]}"#, 403, "go away"),
        ("oops", 404, "404"),
    ];
    for (body, status, words) in answers {
        let service = token_service(move |_| Reply::new(status, body));
        let registry = bearer(&image, &service);
        fails(&registry, &[], &[words]);
        assert!(registry.asked().len() < 10 && service.asked().len() < 10);
        assert!(registry.asked().iter().all(|request| request.header("x-injected").is_none()));
    }
    let endless = token_service(|_| Reply::ok(vec![b' '; 100_000]).length(None).then(Then::Repeat));
    fails(&bearer(&image, &endless), &[], &["token service", "limit"]);
}

#[test]
fn challenges_that_are_none() {
    let image = image();
    for (challenge, words) in [
        ("Bearer", "without a realm"),
        ("Bearer service=\"x\"", "without a realm"),
        ("Bearer realm=\"file:///etc/passwd\"", "token service"),
        ("Bearer realm=\"unclosed", "without a realm"),
        ("Negotiate", "unknown kind of authentication"),
        ("", "denied"),
        (",,,=\"", "denied"),
    ] {
        let registry =
            Registry::with(&image, move |request| (request.path != "/v2/").then(|| Reply::unauthorized(challenge)));
        fails(&registry, &["--creds", "user:secret"], &[words]);
    }
}

#[test]
fn a_token_that_expires_is_asked_for_again() {
    let image = image();
    let issued = Arc::new(AtomicUsize::new(0));
    let count = issued.clone();
    let service =
        token_service(move |_| Reply::ok(format!(r#"{{"token":"t{}"}}"#, count.fetch_add(1, Ordering::SeqCst))));
    let challenge = format!(r#"Bearer realm="http://{}/token""#, service.host());
    let registry = Registry::with(&image, move |request| {
        // The first token is good for manifests only.
        let good = if request.is_blob() { "Bearer t1" } else { "Bearer t0" };
        let known = request.header("authorization").is_some_and(|token| token == good || token == "Bearer t1");
        (!known).then(|| Reply::unauthorized(&challenge))
    });
    pulls(&registry, &[]);
    assert_eq!(issued.load(Ordering::SeqCst), 2);
}

/// An address of this machine that is not its loopback.
fn own_address() -> Option<std::net::IpAddr> {
    // Nothing is sent: the kernel only looks up the way there.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_loopback())
}

#[test]
fn plain_http_must_be_asked_for() {
    let Some(address) = own_address() else {
        println!("SKIP plain_http_must_be_asked_for: this machine has no address but its loopback's");
        return;
    };
    let image = image();
    let registry = Registry::on(address, image.content(), |_| None);
    let arguments = ["pull", "-q", "--retry", "0", "--creds", "user:secret", &registry.name()];
    Place::new().refuses(&arguments, &["requesting https://"]);
    assert!(registry.asked().iter().all(|request| request.header("authorization").is_none()));
    Place::new().accepts(&["pull", "-q", "--tls-verify=false", &registry.name()]);
}
