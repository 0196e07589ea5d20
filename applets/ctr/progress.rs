//! How `pull` and `load` tell what they do: a bar for each layer on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use coracle_image_oci::{Digest, LayerState, Progress, Silent};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

/// How often a second the bars are drawn: a serial console is slow.
const DRAWS: u8 = 5;

/// Tells in the way that fits standard error, or nothing.
pub fn reporter(quiet: bool) -> Box<dyn Progress> {
    if quiet {
        Box::new(Silent)
    } else if io::stderr().is_terminal() && can_draw() {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWS));
        Box::new(Bars { all, bars: Mutex::default() })
    } else {
        Box::new(Lines::default())
    }
}

/// Bars are drawn by moving the cursor over lines whose width must be known: that of a serial console is not.
fn can_draw() -> bool {
    let knows_its_size =
        rustix::termios::tcgetwinsize(io::stderr()).is_ok_and(|size| size.ws_col > 0 && size.ws_row > 0);
    knows_its_size && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// What is said of a layer; of a download there are numbers instead.
fn words(state: LayerState<'_>) -> String {
    match state {
        LayerState::Queued => "waiting".into(),
        LayerState::Present => "already there".into(),
        LayerState::Waiting => "another process fetches it; waiting".into(),
        LayerState::Retrying { reason } => format!("trying again: {reason}"),
        LayerState::Resuming { done, total } => format!("going on after {} of {} KiB", done >> 10, total >> 10),
        LayerState::Downloading { .. } => "downloading".into(),
        LayerState::Unpacking => "unpacking".into(),
        LayerState::Done => "done".into(),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Plain lines, each step of ten per cent once.
#[derive(Default)]
struct Lines(Mutex<BTreeMap<Digest, u64>>);

impl Progress for Lines {
    fn layer(&self, layer: &Digest, state: LayerState<'_>) {
        let text = match state {
            LayerState::Queued => "Pulling fs layer".into(),
            LayerState::Unpacking => return,
            LayerState::Downloading { done, total } => {
                let step = (done * 10).checked_div(total).unwrap_or(10);
                if locked(&self.0).insert(layer.clone(), step) == Some(step) {
                    return;
                }
                format!("{} of {} KiB", done >> 10, total >> 10)
            }
            other => words(other),
        };
        self.note(&format!("{}: {text}", layer.short()));
    }

    fn note(&self, text: &str) {
        // Progress that nobody can read is no reason to fail.
        let _ = writeln!(io::stderr(), "{text}");
    }
}

/// One bar for each layer.
struct Bars {
    all: MultiProgress,
    bars: Mutex<BTreeMap<Digest, ProgressBar>>,
}

impl Bars {
    fn bar(&self, layer: &Digest) -> ProgressBar {
        let mut bars = locked(&self.bars);
        let add = || {
            // Left on the screen as it was if the pull fails.
            let bar = ProgressBar::new(0).with_finish(ProgressFinish::Abandon);
            self.all.add(bar.with_prefix(layer.short().to_owned()).with_style(text_style()))
        };
        bars.entry(layer.clone()).or_insert_with(add).clone()
    }
}

impl Progress for Bars {
    fn layer(&self, layer: &Digest, state: LayerState<'_>) {
        let bar = self.bar(layer);
        match state {
            // A layer that occurs twice in an image.
            _ if bar.is_finished() => {}
            LayerState::Downloading { done, total } => {
                // The message before the style: each change may be drawn.
                bar.set_message(words(state));
                if bar.length() != Some(total) {
                    bar.set_length(total);
                    bar.set_style(bar_style());
                }
                bar.set_position(done);
            }
            LayerState::Present | LayerState::Done => {
                bar.set_style(text_style());
                bar.finish_with_message(words(state));
            }
            other => bar.set_message(words(other)),
        }
    }

    fn note(&self, text: &str) {
        let _ = self.all.println(text);
    }
}

fn text_style() -> ProgressStyle {
    style("{prefix:.bold} {msg}")
}

/// Of ASCII only: not every console has more.
fn bar_style() -> ProgressStyle {
    style("{prefix:.bold} {msg:12!} [{bar:30.cyan}] {bytes:.green}/{total_bytes}").progress_chars("=> ")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_read() {
        for template in ["{prefix:.bold} {msg}", "{msg:12!} [{bar:30.cyan}] {bytes:.green}/{total_bytes}"] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
        assert_eq!(words(LayerState::Resuming { done: 2048, total: 4096 }), "going on after 2 of 4 KiB");
    }
}
