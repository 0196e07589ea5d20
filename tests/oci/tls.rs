//! Registries over TLS. The name `registry.example` is this machine, to a command in a mount namespace with another /etc/hosts.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::content::noise;
use crate::image::Image;
use crate::place::{Outcome, Place, is_root, outcome};
use crate::registry::{Registry, Reply};
use crate::tar::Tar;

/// A registry behind TLS, the authority that vouches for it as `registry.example`, and who asks it.
struct Secure {
    place: Place,
    registry: Arc<Registry>,
    port: u16,
}

impl Secure {
    fn new(test: &str, registry: Registry) -> Option<Secure> {
        let place = Place::new();
        place.input("hosts", b"127.0.0.1 registry.example other.example\n");
        if !is_root() || !certify(&place.input("x", b"")) || !can_bind(&place) {
            println!("SKIP {test}: needs root, a mount namespace and openssl");
            return None;
        }
        let registry = Arc::new(registry);
        let port = front(registry.clone(), &place.input("x", b""));
        Some(Secure { place, registry, port })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.input("x", b"").with_file_name(name)
    }

    fn pull(&self, host: &str, options: &[&str], trusted: bool) -> Outcome {
        let image = format!("{host}:{}/test", self.port);
        let arguments = [&["pull", "-q", "--retry", "0"], options, &[&image]].concat();
        let inner = self.place.command(&arguments);
        let mut command = with_hosts(&self.path("hosts"));
        command.arg(inner.get_program()).args(inner.get_args()).env_clear();
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if trusted {
            command.env("SSL_CERT_FILE", self.path("ca.pem"));
        }
        let outcome = outcome(command.output().unwrap());
        self.place.untouched();
        outcome
    }
}

fn with_hosts(hosts: &Path) -> Command {
    let mut command = Command::new("unshare");
    let script = r#"mount --bind "$1" /etc/hosts && shift && exec "$@""#;
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(hosts);
    command
}

fn can_bind(place: &Place) -> bool {
    let hosts = place.input("x", b"").with_file_name("hosts");
    with_hosts(&hosts).arg("true").status().is_ok_and(|status| status.success())
}

/// Make ca.pem, cert.pem and key.pem beside a file.
fn certify(beside: &Path) -> bool {
    let script = r#"set -e
        new() { openssl req "$@" -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes; }
        new -x509 -keyout ca.key -out ca.pem -days 2 -subj /CN=authority
        new -keyout key.pem -out request.pem -subj /CN=registry
        echo subjectAltName=DNS:registry.example >names
        openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile names"#;
    let output = Command::new("sh").args(["-c", script]).current_dir(beside.parent().unwrap()).output();
    output.is_ok_and(|output| output.status.success())
}

/// Take TLS off what comes and pass it on, one request for each connection.
fn front(registry: Arc<Registry>, beside: &Path) -> u16 {
    let certificate = CertificateDer::from_pem_file(beside.with_file_name("cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(beside.with_file_name("key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, registry) = (config.clone(), registry.clone());
            std::thread::spawn(move || pass_on(stream, config, &registry));
        }
    });
    port
}

fn pass_on(stream: TcpStream, config: Arc<ServerConfig>, registry: &Registry) -> io::Result<()> {
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut secure = StreamOwned::new(connection, stream);
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        secure.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let mut plain = TcpStream::connect(registry.host())?;
    plain.write_all(&head)?;
    io::copy(&mut plain, &mut secure)?;
    secure.conn.send_close_notify();
    secure.flush()
}

fn image() -> Image {
    Image::new(&[Tar::new().file("a", noise(300_000)).end()])
}

#[test]
fn a_certificate_must_be_vouched_for() {
    let Some(secure) = Secure::new("a_certificate_must_be_vouched_for", Registry::of(&image())) else { return };
    secure.pull("registry.example", &["--creds", "user:secret"], false).failed(&["requesting https", "certificate"]);
    assert!(secure.registry.asked().is_empty(), "asked in spite of it");
    assert_eq!(secure.place.kept(), [""; 0]);
    let outcome = secure.pull("registry.example", &[], true);
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
}

#[test]
fn a_certificate_must_be_of_the_name() {
    let Some(secure) = Secure::new("a_certificate_must_be_of_the_name", Registry::of(&image())) else { return };
    secure.pull("other.example", &["--creds", "user:secret"], true).failed(&["requesting https", "certificate"]);
    assert!(secure.registry.asked().is_empty(), "asked in spite of it");
}

#[test]
fn any_certificate_when_that_is_asked_for() {
    let Some(secure) = Secure::new("any_certificate_when_that_is_asked_for", Registry::of(&image())) else { return };
    for host in ["registry.example", "other.example"] {
        let outcome = secure.pull(host, &["--tls-verify=false"], false);
        assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    }
}

#[test]
fn nothing_leads_from_tls_to_plain_http() {
    let image = image();
    let elsewhere = Registry::of(&image);
    let to = elsewhere.host();
    let registry = Registry::with(&image, move |request| {
        request.is_blob().then(|| Reply::redirect(&format!("http://{to}{}", request.path)))
    });
    let Some(secure) = Secure::new("nothing_leads_from_tls_to_plain_http", registry) else { return };
    secure.pull("registry.example", &[], true).failed(&["redirect from https to plain http refused"]);
    assert!(elsewhere.asked().is_empty());
    let service = Registry::of(&image);
    let challenge = format!(r#"Bearer realm="http://{}/token""#, service.host());
    let registry = Registry::with(&image, move |_| Some(Reply::unauthorized(&challenge)));
    let Some(secure) = Secure::new("nothing_leads_from_tls_to_plain_http", registry) else { return };
    secure.pull("registry.example", &["--creds", "user:secret"], true).failed(&["not reached by https"]);
    assert!(service.asked().is_empty());
}
