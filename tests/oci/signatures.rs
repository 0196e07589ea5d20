//! `policy.json` and cosign's signatures: what is not signed as it must be does not come in, and the reason is named.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use crate::content::digest;
use crate::image::{INDEX, Image, MANIFEST, architecture, descriptor};
use crate::place::Place;
use crate::registry::{Registry, Reply};
use crate::tar::Tar;

const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// Beginnings of a SubjectPublicKeyInfo: the key itself follows.
const P256: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
const ED25519: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

enum Key {
    Ecdsa(Box<EcdsaKeyPair>),
    Ed25519(Ed25519KeyPair),
}

impl Key {
    fn ecdsa() -> Key {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Key::Ecdsa(Box::new(EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap()))
    }

    fn ed25519() -> Key {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Key::Ed25519(Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap())
    }

    fn pem(&self) -> String {
        let info = match self {
            Key::Ecdsa(key) => [P256, key.public_key().as_ref()].concat(),
            Key::Ed25519(key) => [ED25519, key.public_key().as_ref()].concat(),
        };
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(info))
    }

    fn sign(&self, payload: &[u8]) -> String {
        STANDARD.encode(match self {
            Key::Ecdsa(key) => key.sign(&SystemRandom::new(), payload).unwrap().as_ref().to_vec(),
            Key::Ed25519(key) => key.sign(payload).as_ref().to_vec(),
        })
    }
}

fn image() -> Image {
    Image::new(&[Tar::new().file("a", "x").end()])
}

/// What cosign signs.
fn payload(reference: &str, of: &str) -> String {
    json!({
        "critical": {
            "identity": { "docker-reference": reference },
            "image": { "docker-manifest-digest": of },
            "type": "cosign container image signature",
        },
        "optional": null,
    })
    .to_string()
}

/// What a registry has of these signatures: documents with the signatures that are said to be of them.
fn signed(of: &str, signatures: &[(String, String)]) -> Vec<(String, Reply)> {
    let layer = |(payload, signature): &(String, String)| {
        let mut layer = descriptor(PAYLOAD, payload.as_bytes());
        layer["annotations"] = json!({ "dev.cosignproject.cosign/signature": signature });
        layer
    };
    let layers: Vec<Value> = signatures.iter().map(layer).collect();
    let config = descriptor("application/vnd.oci.image.config.v1+json", b"{}");
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers }).to_string();
    let blobs = signatures
        .iter()
        .map(|(payload, _)| (format!("/v2/test/blobs/{}", digest(payload.as_bytes())), Reply::ok(payload)));
    let tag = of.replace(':', "-");
    let manifest = Reply::ok(manifest).with("Content-Type", MANIFEST);
    blobs.chain([(format!("/v2/test/manifests/{tag}.sig"), manifest)]).collect()
}

/// A registry with an image and signatures of it that `sign` makes, given the image's name and digest.
fn registry(sign: impl Fn(&str, &str) -> Vec<(String, String)>) -> Registry {
    let image = image();
    let of = digest(&image.manifest_bytes());
    // The name in the signature is the registry's, which is not known before it listens.
    let content = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let served = content.clone();
    let registry = Registry::start(image.content(), move |request| {
        let served = served.lock().unwrap();
        served.iter().find(|(path, _)| *path == request.path).map(|(_, reply): &(String, Reply)| reply.clone())
    });
    *content.lock().unwrap() = signed(&of, &sign(&registry.name(), &of));
    registry
}

/// The arguments of a pull by a policy for all images.
fn arguments(place: &Place, requirement: &Value, name: &str) -> Vec<String> {
    let policy = json!({ "default": [requirement] }).to_string();
    pull(place.input("policy.json", policy.as_bytes()), name)
}

fn pull(policy: PathBuf, name: &str) -> Vec<String> {
    ["pull", "-q", "--signature-policy", policy.to_str().unwrap(), name].map(str::to_owned).into()
}

fn by_key(place: &Place, key: &Key, identity: &str) -> Value {
    let path = place.input("cosign.pub", key.pem().as_bytes());
    json!({ "type": "sigstoreSigned", "keyPath": path, "signedIdentity": { "type": identity } })
}

fn accepts(key: &Key, identity: &str, sign: impl Fn(&str, &str) -> Vec<(String, String)>) {
    let (place, registry) = (Place::new(), registry(sign));
    let arguments = arguments(&place, &by_key(&place, key, identity), &registry.name());
    place.accepts(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
}

fn refuses(key: &Key, identity: &str, words: &[&str], sign: impl Fn(&str, &str) -> Vec<(String, String)>) {
    let (place, registry) = (Place::new(), registry(sign));
    let arguments = arguments(&place, &by_key(&place, key, identity), &registry.name());
    let words = [words, &["Source image rejected"]].concat();
    place.refuses(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &words);
    let fetched = registry.asked().iter().filter(|request| request.is_blob()).count();
    assert!(fetched <= 2, "nothing but signatures is fetched of what is rejected");
}

fn honest(key: &Key) -> impl Fn(&str, &str) -> Vec<(String, String)> {
    |name, of| {
        let payload = payload(name, of);
        vec![(payload.clone(), key.sign(payload.as_bytes()))]
    }
}

#[test]
fn a_signed_image() {
    for key in [Key::ecdsa(), Key::ed25519()] {
        accepts(&key, "matchRepository", honest(&key));
        // The second signature is the good one.
        let other = Key::ecdsa();
        accepts(&key, "matchRepository", |name, of| [honest(&other)(name, of), honest(&key)(name, of)].concat());
        accepts(&key, "matchExact", |name, of| honest(&key)(&format!("{name}:latest"), of));
    }
}

#[test]
fn a_key_in_the_policy_itself() {
    let (place, key) = (Place::new(), Key::ecdsa());
    let registry = registry(honest(&key));
    let data = STANDARD.encode(key.pem());
    let rule = json!({ "type": "sigstoreSigned", "keyData": data, "signedIdentity": { "type": "matchRepository" } });
    place.accepts(&arguments(&place, &rule, &registry.name()).iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn no_signature() {
    refuses(&Key::ecdsa(), "matchRepository", &["A signature was required, but no signature exists"], |_, _| {
        Vec::new()
    });
    let (place, image) = (Place::new(), image());
    let registry = Registry::of(&image);
    let rule = by_key(&place, &Key::ecdsa(), "matchRepository");
    let arguments = arguments(&place, &rule, &registry.name());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    place.refuses(&arguments, &["A signature was required, but no signature exists"]);
}

#[test]
fn the_wrong_key() {
    let (key, other) = (Key::ecdsa(), Key::ecdsa());
    refuses(&key, "matchRepository", &["cryptographic signature verification failed"], honest(&other));
    refuses(&key, "matchRepository", &["cryptographic signature verification failed"], honest(&Key::ed25519()));
}

#[test]
fn a_tampered_document() {
    let key = Key::ecdsa();
    refuses(&key, "matchRepository", &["cryptographic signature verification failed"], |name, of| {
        let signature = key.sign(payload(name, &digest(b"other")).as_bytes());
        vec![(payload(name, of), signature)]
    });
    refuses(&key, "matchRepository", &["cryptographic signature verification failed"], |name, of| {
        vec![(payload(name, of), STANDARD.encode("no signature"))]
    });
    // The registry sends another document than its manifest says.
    let (place, image) = (Place::new(), image());
    let of = digest(&image.manifest_bytes());
    let document = payload("127.0.0.1/test", &of);
    let mut content = signed(&of, &[(document.clone(), key.sign(document.as_bytes()))]);
    content[0].1 = Reply::ok(document.replace("null", "true"));
    let registry = Registry::start([image.content(), content].concat(), |_| None);
    let rule = by_key(&place, &key, "matchRepository");
    let arguments = arguments(&place, &rule, &registry.name());
    place.refuses(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &["does not match its digest"]);
}

#[test]
fn a_signature_of_another_image() {
    let key = Key::ecdsa();
    let other = digest(b"other");
    refuses(&key, "matchRepository", &["Signature for digest", &other], |name, _| honest(&key)(name, &other));
    refuses(&key, "matchRepository", &["Signature for identity", "evil.io/test"], |_, of| {
        honest(&key)("evil.io/test", of)
    });
    // cosign leaves the tag away, which the default rule wants.
    refuses(&key, "matchRepoDigestOrExact", &["Signature for identity"], honest(&key));
    refuses(&key, "matchExact", &["Signature for identity"], |name, of| honest(&key)(&format!("{name}:1"), of));
}

#[test]
fn a_document_of_another_kind() {
    let key = Key::ecdsa();
    refuses(&key, "matchRepository", &["signed document is invalid"], |name, of| {
        let payload = payload(name, of).replace("cosign container image signature", "atomic container signature");
        vec![(payload.clone(), key.sign(payload.as_bytes()))]
    });
}

#[test]
fn a_signed_index() {
    let (place, key, image) = (Place::new(), Key::ecdsa(), image());
    let mut entry = descriptor(MANIFEST, &image.manifest_bytes());
    entry["platform"] = json!({ "os": "linux", "architecture": architecture() });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] }).to_string();
    let of = digest(index.as_bytes());
    let document = payload("docker.io/library/test", &of);
    let latest = ("/v2/test/manifests/latest".to_owned(), Reply::ok(&index).with("Content-Type", INDEX));
    let signatures = signed(&of, &[(document.clone(), key.sign(document.as_bytes()))]);
    let registry = Registry::start([vec![latest], signatures, image.content()].concat(), |_| None);
    let path = place.input("cosign.pub", key.pem().as_bytes());
    let identity = json!({ "type": "exactRepository", "dockerRepository": "docker.io/library/test" });
    let rule = json!({ "type": "sigstoreSigned", "keyPath": path, "signedIdentity": identity });
    place.accepts(&arguments(&place, &rule, &registry.name()).iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn policies_that_let_nothing_in() {
    for (rule, words) in [
        (json!({ "type": "reject" }), "rejected by policy"),
        (json!({ "type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k" }), "GPG"),
        (
            json!({ "type": "sigstoreSigned", "keyPath": "/nowhere/cosign.pub" }),
            "reading the public key /nowhere/cosign.pub",
        ),
        (json!({ "type": "sigstoreSigned", "fulcio": {} }), "signature policy"),
        (json!({ "type": "trustMe" }), "unknown variant `trustMe`"),
    ] {
        let (place, registry) = (Place::new(), Registry::of(&image()));
        let arguments = arguments(&place, &rule, &registry.name());
        place.refuses(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &[words]);
    }
    let (place, registry) = (Place::new(), Registry::of(&image()));
    let missing = pull("/nowhere/policy.json".into(), &registry.name());
    place.refuses(&missing.iter().map(String::as_str).collect::<Vec<_>>(), &["/nowhere/policy.json"]);
}

#[test]
fn scopes_and_the_users_own_policy() {
    let (place, registry) = (Place::new(), Registry::of(&image()));
    let policy = |scope: &str| {
        let scopes = json!({ scope: [{ "type": "insecureAcceptAnything" }] });
        json!({ "default": [{ "type": "reject" }], "transports": { "docker": scopes } }).to_string()
    };
    let own = place.input("../home/.config/containers/policy.json", policy("quay.io").as_bytes());
    place.refuses(&["pull", "-q", &registry.name()], &["rejected by policy"]);
    let archive = place.input("saved.tar", &image().saved().end());
    place.refuses(&["load", "-i", archive.to_str().unwrap()], &["docker-archive", "rejected by policy"]);
    std::fs::write(&own, policy(&registry.name())).unwrap();
    place.accepts(&["pull", "-q", &registry.name()]);
}
