//! How `pull` and `load` tell what they do.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use coracle_image_oci::{Digest, LayerState, Progress, Silent};

/// Tells by lines, or nothing.
pub fn reporter(quiet: bool) -> Box<dyn Progress> {
    if quiet { Box::new(Silent) } else { Box::new(Lines::default()) }
}

/// Plain lines, each step of ten per cent once.
#[derive(Default)]
struct Lines(Mutex<BTreeMap<Digest, u64>>);

impl Progress for Lines {
    fn layer(&self, layer: &Digest, state: LayerState<'_>) {
        let short = layer.short();
        match state {
            LayerState::Present => eprintln!("{short}: already there"),
            LayerState::Waiting => eprintln!("{short}: another process fetches it; waiting"),
            LayerState::Retrying { reason } => eprintln!("{short}: trying again: {reason}"),
            LayerState::Resuming { done, total } => {
                eprintln!("{short}: going on after {} of {} KiB", done >> 10, total >> 10);
            }
            LayerState::Done => eprintln!("{short}: done"),
            LayerState::Downloading { done, total } => {
                let step = (done * 10).checked_div(total).unwrap_or(10);
                let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                if steps.insert(layer.clone(), step) != Some(step) {
                    eprintln!("{short}: {} of {} KiB", done >> 10, total >> 10);
                }
            }
        }
    }

    fn note(&self, text: &str) {
        eprintln!("{text}");
    }
}
