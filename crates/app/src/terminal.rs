//! The terminal: whether to colour, progress on standard error, and writing results without overwriting anything.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use truename_report::Style;

use crate::cli::Colour;
use crate::exit::Failure;

/// Decides the style of standard output.
pub(crate) fn style(colour: Colour) -> Style {
    let ansi = match colour {
        Colour::Always => true,
        Colour::Never => false,
        // https://no-color.org: any non-empty value turns colours off.
        Colour::Auto => {
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        }
    };
    if ansi { Style::Ansi } else { Style::Plain }
}

/// A spinner with octets on a terminal; silent elsewhere.
pub(crate) fn progress(total: u64) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Writes to standard output; a closed pipe is the reader's wish, not an error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::io("write", Path::new("standard output"), &error))
        }
        _ => Ok(()),
    }
}

/// A message for the person at the terminal.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
