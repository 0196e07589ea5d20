//! A process that gives back what it does not need goes on as before, with less.
//!
//! Without a test harness, which has threads: their stacks are not the one that is looked at.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::fs;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

/// The stack that is used once and then no more: well over what is kept in any case.
const FRAME: usize = 4096;
const DEPTH: usize = 256;

/// Data of the program that is not as in its file any more.
static CHANGED: [AtomicU32; 4096] = [const { AtomicU32::new(1) }; 4096];

fn main() {
    let sum = descend(DEPTH);
    CHANGED.iter().for_each(|number| number.store(2, Ordering::Relaxed));
    let heap = black_box(vec![3_u8; 100_000]);
    below(8, &mut || {
        let (all, stack) = (resident(""), resident("[stack]"));
        coracle_abi::memory::settle().unwrap();
        let (all_after, stack_after) = (resident(""), resident("[stack]"));
        println!("settle: {all} -> {all_after} KiB, stack {stack} -> {stack_after} KiB");
        assert!(stack_after + 512 < stack && all_after + 512 < all, "too little was given back");
    });
    assert!(heap.iter().all(|byte| *byte == 3), "the heap was lost");
    assert!(CHANGED.iter().all(|number| number.load(Ordering::Relaxed) == 2), "changed data came back from the file");
    assert_eq!(descend(DEPTH), sum, "the stack cannot be used again");
    println!("test result: ok. 1 passed; 0 failed; 0 ignored");
}

/// Use so many large frames of the stack.
#[inline(never)]
fn descend(depth: usize) -> usize {
    let frame = black_box([1_u8; FRAME]);
    let below = if depth == 0 { 0 } else { descend(depth - 1) };
    below + frame.iter().map(|byte| usize::from(*byte)).sum::<usize>()
}

/// Run `then` below so many large frames, each of which must be as it was when that is over.
#[inline(never)]
fn below(depth: usize, then: &mut dyn FnMut()) {
    let frame = black_box([4_u8; FRAME]);
    if depth == 0 {
        then()
    } else {
        below(depth - 1, then)
    }
    assert!(black_box(&frame).iter().all(|byte| *byte == 4), "a frame in use was lost");
}

/// KiB of all mappings of a name, or of all, that are in memory.
fn resident(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut is_wanted = false;
    let mut sum = 0;
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        match fields.next() {
            Some("Rss:") if is_wanted => sum += fields.next().unwrap().parse::<u64>().unwrap(),
            Some(field) if !field.ends_with(':') => is_wanted = name.is_empty() || line.ends_with(name),
            _ => {}
        }
    }
    sum
}
