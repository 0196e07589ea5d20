//! What a build tells of itself, on standard error in the form of `docker build --progress plain`.

use std::io::{self, Write};
use std::time::Instant;

/// Lines of a command's output that are kept to be shown when it fails.
const TAIL: usize = 20;
/// Longest line that is shown at once.
const LINE_MAX: usize = 4096;

/// Tells, or keeps quiet.
pub struct Progress {
    quiet: bool,
    count: usize,
}

/// Something that takes time.
pub struct Vertex {
    number: usize,
    quiet: bool,
    started: Instant,
    /// An incomplete line.
    pending: Vec<u8>,
    /// The last lines of output.
    tail: Vec<String>,
}

impl Progress {
    /// With `quiet` nothing is said.
    pub fn new(quiet: bool) -> Self {
        Progress { quiet, count: 0 }
    }

    /// Begin something.
    pub fn begin(&mut self, name: &str) -> Vertex {
        self.count += 1;
        let vertex = Vertex {
            number: self.count,
            quiet: self.quiet,
            started: Instant::now(),
            pending: Vec::new(),
            tail: Vec::new(),
        };
        vertex.say(name);
        vertex
    }
}

impl Vertex {
    /// One line.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            // Nobody listening is no reason to stop.
            let _ = writeln!(io::stderr(), "#{} {text}", self.number);
        }
    }

    fn end(&self, text: &str) {
        self.say(text);
        if !self.quiet {
            let _ = writeln!(io::stderr());
        }
    }

    /// It is done.
    pub fn done(self) {
        let elapsed = self.started.elapsed().as_secs_f64();
        self.end(&format!("DONE {elapsed:.1}s"));
    }

    /// There was nothing to do.
    pub fn cached(self) {
        self.end("CACHED");
    }

    /// It failed; gives the last lines of its output.
    pub fn failed(mut self, why: &str) -> Vec<String> {
        self.flush();
        self.end(&format!("ERROR: {why}"));
        self.tail
    }

    /// Output of a command: lines are shown as they are complete, with the seconds since its start.
    pub fn output(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n').flat_map(|line| line.chunks(LINE_MAX)) {
            self.pending.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.pending.len() >= LINE_MAX {
                self.flush();
            }
        }
    }

    /// Show what is left of the output.
    pub fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let text = String::from_utf8_lossy(&self.pending);
        let line = format!("{:.3} {}", self.started.elapsed().as_secs_f64(), text.trim_end_matches(['\n', '\r']));
        self.say(&line);
        if self.tail.len() == TAIL {
            self.tail.remove(0);
        }
        self.tail.push(line);
        self.pending.clear();
    }
}

/// Show the part of a file that a span of lines is in, as docker does.
pub fn excerpt(name: &str, text: &str, (first, last): (usize, usize)) -> String {
    const AROUND: usize = 3;
    let rule = "-".repeat(20);
    let mut out = format!("{name}:{first}\n{rule}\n");
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        if number + AROUND >= first && number <= last + AROUND {
            let mark = if (first..=last).contains(&number) { ">>>" } else { "   " };
            out += &format!("{number:4} | {mark} {line}\n");
        }
    }
    out + &rule
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_output_is_kept() {
        let mut vertex = Progress::new(true).begin("x");
        for number in 0..50 {
            vertex.output(format!("line {number}\npart").as_bytes());
        }
        vertex.output(&[b'x'; 10_000]);
        let tail = vertex.failed("why");
        assert_eq!(tail.len(), TAIL);
        assert!(tail.iter().all(|line| line.len() < 2 * LINE_MAX));
    }

    #[test]
    fn excerpts() {
        let text = "FROM a\nRUN b \\\n c\n\n\n\n\nRUN d\n";
        let shown = excerpt("Dockerfile", text, (2, 3));
        assert!(
            shown.starts_with("Dockerfile:2\n--------------------\n   1 |     FROM a\n   2 | >>> RUN b"),
            "{shown}"
        );
        assert!(!shown.contains("RUN d"));
    }
}
