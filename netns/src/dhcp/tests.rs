use super::*;
use proptest::prelude::*;

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

fn client() -> Client {
    Client::new(MAC, Some("me".into()), 42, Duration::ZERO)
}

fn reply(client: &Client, kind: Kind, lease_seconds: u32) -> Vec<u8> {
    let mut message = Message::new(client.xid, MAC, kind);
    message.is_reply = true;
    message.yours = Ipv4Addr::new(10, 0, 2, 15);
    message.push(option::SERVER, &SERVER.octets());
    message.push(option::SUBNET_MASK, &[255, 255, 255, 0]);
    message.push(option::ROUTER, &SERVER.octets());
    message.push(option::DNS, &[10, 0, 2, 3]);
    message.push(option::LEASE_TIME, &lease_seconds.to_be_bytes());
    message.encode()
}

fn kind_of(action: &Action) -> Kind {
    let (Action::Broadcast { message, .. } | Action::Unicast { message, .. }) = action else { panic!("{action:?}") };
    Message::decode(message).unwrap().kind().unwrap()
}

#[test]
fn classless_routes_replace_the_router() {
    let client = client();
    let mut message = Message::decode(&reply(&client, Kind::Ack, 60)).unwrap();
    let routes = [32, 169, 254, 169, 254, 0, 0, 0, 0, 0, 10, 0, 2, 9, 12, 172, 31, 10, 0, 2, 8];
    message.push(option::CLASSLESS_ROUTES, &routes);
    let lease = Lease::parse(&message).unwrap();
    assert_eq!(lease.gateway, Some(Ipv4Addr::new(10, 0, 2, 9)));
    let shown: Vec<_> = lease.routes.iter().map(|(net, prefix, via)| format!("{net}/{prefix} {via}")).collect();
    assert_eq!(shown, ["169.254.169.254/32 0.0.0.0", "172.16.0.0/12 10.0.2.8"]);
}

fn bound(lease_seconds: u32) -> Client {
    let mut client = client();
    assert_eq!(kind_of(&client.tick(Duration::ZERO)[0]), Kind::Discover);
    let offer = reply(&client, Kind::Offer, lease_seconds);
    assert_eq!(kind_of(&client.receive(Duration::ZERO, &offer)[0]), Kind::Request);
    let ack = reply(&client, Kind::Ack, lease_seconds);
    let actions = client.receive(Duration::ZERO, &ack);
    let [Action::Configure(lease)] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!((lease.address, lease.prefix, lease.gateway), (Ipv4Addr::new(10, 0, 2, 15), 24, Some(SERVER)));
    client
}

#[test]
fn a_lease_is_renewed_at_half_time() {
    let mut client = bound(1000);
    assert_eq!(client.deadline(), Some(Duration::from_secs(500)));
    assert!(client.tick(Duration::from_secs(499)).is_empty());
    let actions = client.tick(Duration::from_secs(500));
    assert!(matches!(actions[0], Action::Unicast { to: SERVER, .. }));
    let ack = reply(&client, Kind::Ack, 1000);
    assert!(matches!(client.receive(Duration::from_secs(501), &ack)[0], Action::Configure(_)));
    assert_eq!(client.deadline(), Some(Duration::from_secs(1001)));
}

#[test]
fn a_silent_server_ends_in_rebinding_then_in_a_new_search() {
    let mut client = bound(1000);
    let (mut unicast, mut broadcast) = (0, 0);
    loop {
        let now = client.deadline().unwrap();
        let actions = client.tick(now);
        match &actions[0] {
            Action::Unicast { .. } => unicast += 1,
            Action::Broadcast { from, .. } if !from.is_unspecified() => broadcast += 1,
            Action::Deconfigure => {
                assert_eq!(now, Duration::from_secs(1000));
                assert_eq!(kind_of(&actions[1]), Kind::Discover);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(unicast >= 3 && broadcast >= 1, "{unicast} {broadcast}");
}

#[test]
fn a_refusal_starts_over() {
    let mut client = bound(1000);
    client.tick(Duration::from_secs(500));
    let nak = reply(&client, Kind::Nak, 0);
    assert_eq!(client.receive(Duration::from_secs(501), &nak), [Action::Deconfigure]);
    assert!(client.lease().is_none());
    assert_eq!(kind_of(&client.tick(Duration::from_secs(501))[0]), Kind::Discover);
}

#[test]
fn an_infinite_lease_is_never_renewed_and_can_be_released() {
    let mut client = bound(INFINITE);
    assert_eq!(client.deadline(), None);
    let actions = client.release(Duration::from_secs(9));
    assert_eq!(kind_of(&actions[0]), Kind::Release);
    assert_eq!(actions[1], Action::Deconfigure);
}

#[test]
fn others_messages_are_ignored() {
    let mut client = client();
    client.tick(Duration::ZERO);
    let mut other = reply(&client, Kind::Offer, 60);
    other[4] ^= 1;
    assert!(client.receive(Duration::ZERO, &other).is_empty());
    let mut long = reply(&client, Kind::Offer, 60);
    long[2] = 255;
    assert!(client.receive(Duration::ZERO, &long).is_empty());
}

#[test]
fn names_that_would_break_files_are_dropped() {
    assert_eq!(checked_name("example.org.\0"), Some("example.org".into()));
    for bad in ["", "a b", "a\nnameserver 6.6.6.6", "-x", "a;b"] {
        assert_eq!(checked_name(bad), None, "{bad:?}");
    }
}

proptest! {
    #[test]
    fn hostile_replies_never_panic(
        flips in proptest::collection::vec((0_usize..300, any::<u8>()), 0..30), phase in 0..3, cut in 0_usize..400,
    ) {
        let mut client = if phase == 0 { client() } else { bound(600) };
        if phase == 2 { client.tick(Duration::from_secs(300)); } else { client.tick(Duration::ZERO); }
        let mut bytes = reply(&client, if phase == 0 { Kind::Offer } else { Kind::Ack }, 600);
        for (at, value) in flips { let at = at % bytes.len(); bytes[at] = value; }
        bytes.truncate(cut);
        let now = Duration::from_secs(301);
        client.receive(now, &bytes);
        client.tick(now);
        // Never spins: what is due has been done.
        prop_assert!(client.deadline().is_none_or(|deadline| deadline > now));
    }
}
