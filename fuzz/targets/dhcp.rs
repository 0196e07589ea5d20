//! Answers of DHCP servers, and the frames that they come in.
#![no_main]

use std::time::Duration;

use coracle_netns::dhcp::{Action, Client, frame};
use coracle_netns::link::MacAddress;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = frame::parse(data);
    let (offer, ack) = data.split_at(data.len() / 2);
    let mut client = Client::new(MacAddress(MAC), None, 7, Duration::ZERO);
    let mut sent = client.tick(Duration::from_secs(1));
    for (at, answer) in [offer, ack].into_iter().enumerate() {
        let Some(Action::Broadcast { message, .. }) = sent.first() else { return };
        let answer = addressed(answer, message);
        sent = client.receive(Duration::from_secs(2 + at as u64), &answer);
    }
    if client.lease().is_some() {
        let end = client.deadline().unwrap_or_default();
        let _ = client.tick(end);
        let _ = client.tick(end + Duration::from_secs(1 << 33));
        let _ = client.release(end);
    }
});

/// Make an answer one to the message that was sent: all else is dropped before it is read.
fn addressed(answer: &[u8], sent: &[u8]) -> Vec<u8> {
    let mut answer = answer.to_vec();
    answer.resize(answer.len().max(300), 0);
    answer[..4].copy_from_slice(&[2, 1, 6, 0]);
    answer[4..8].copy_from_slice(&sent[4..8]);
    answer[28..34].copy_from_slice(&MAC);
    answer[236..240].copy_from_slice(&[99, 130, 83, 99]);
    answer
}
