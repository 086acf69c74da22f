use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error, shown only on a terminal, and only once the work has taken a moment.
pub struct Bar(ProgressBar);

const STEPS: u64 = 1000;

impl Bar {
    /// A bar with a label.
    pub fn new(label: impl Into<String>) -> Self {
        Self::of(Some(STEPS), "{msg:<12} [{bar:40}] {percent:>3} % {elapsed}, {eta} left", label.into())
    }

    /// A sign of life with a label, for work of which nobody knows how long it takes.
    pub fn spinner(label: impl Into<String>) -> Self {
        Self::of(None, "{msg:<12} {spinner} {elapsed}", label.into())
    }

    /// The templates are constants that are known to parse.
    fn of(steps: Option<u64>, template: &str, label: String) -> Self {
        let bar = ProgressBar::with_draw_target(steps, ProgressDrawTarget::stderr_with_hz(10));
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(label);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// Shows the part that is done, from 0 to 1. Parts that arrive late never move the bar back.
    pub fn at(&self, part: f64) {
        let position = (part * STEPS as f64) as u64;
        if position > self.0.position() {
            self.0.set_position(position);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
