//! A terminal as a person has it: a window that is resized, and Ctrl-C.
#![cfg(target_os = "linux")]
#![allow(unsafe_code)] // the pseudoterminal

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::num::NonZero;
use std::os::fd::{AsRawFd, FromRawFd};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vt100::Parser;

const PROGRAM: &str = env!("CARGO_BIN_EXE_f3-tch");

/// Enough for all that is written: nothing leaves the window.
const LINES: u16 = 200;

fn nonzero(size: u16) -> NonZero<u16> {
    NonZero::new(size).unwrap()
}

/// The two ends of a new pseudoterminal: ours, and that of the program.
fn pseudoterminal() -> (File, File) {
    let (mut ours, mut theirs) = (0, 0);
    let (name, settings, size) = (std::ptr::null_mut(), std::ptr::null(), std::ptr::null());
    // SAFETY: two places for the descriptors; the rest may be null.
    let outcome = unsafe { libc::openpty(&mut ours, &mut theirs, name, settings, size) };
    assert_eq!(outcome, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: both are open, and nobody else has them.
    unsafe { (File::from_raw_fd(ours), File::from_raw_fd(theirs)) }
}

/// A window of so many columns. Our screen cuts off what is to the right of a narrower window; the lines of
/// epochs are shorter than all of them.
fn resize(terminal: &File, screen: &Mutex<Parser>, columns: u16) {
    screen.lock().unwrap().screen_mut().set_size(nonzero(LINES), nonzero(columns));
    let size = libc::winsize { ws_row: LINES, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is that of a terminal, and the size is read.
    let outcome = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &size) };
    assert_eq!(outcome, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn finished_epochs_stay_when_the_window_is_resized_and_after_ctrl_c() {
    let folder = TempDir::new().unwrap();
    let config = "data: {name: digits, batch_size: 10}\nmodel: {width: 1000, hidden_layers: 3}\n\
                  algorithm: {name: f3}\noptimizer: {learning_rate: 1e-4}\nepochs: 1000\nthreads: 1\n";
    fs::write(folder.path().join("a.yaml"), config).unwrap();
    let (mut ours, theirs) = pseudoterminal();
    let screen = Arc::new(Mutex::new(Parser::new(nonzero(LINES), nonzero(100), 0)));
    resize(&ours, &screen, 100);
    let end = || Stdio::from(theirs.try_clone().unwrap());
    // `setsid` makes it the terminal that sends Ctrl-C, which who runs this test may have set to be ignored.
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait", "env", "--default-signal=INT", PROGRAM]);
    command.args(["train", "a.yaml", "--run-dir", "run"]);
    command.current_dir(folder.path()).stdin(end()).stdout(end()).stderr(end());
    let mut child = command.spawn().unwrap();
    drop((command, theirs));
    let reader = thread::spawn({
        let (mut terminal, screen) = (ours.try_clone().unwrap(), screen.clone());
        move || {
            let mut bytes = [0; 4096];
            loop {
                match terminal.read(&mut bytes) {
                    Ok(0) => return,
                    Ok(count) => screen.lock().unwrap().process(&bytes[..count]),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => return, // the program's end is closed
                }
            }
        }
    });
    let shown = || {
        let screen = screen.lock().unwrap_or_else(PoisonError::into_inner);
        let columns = screen.screen().size().1;
        let rows = screen.screen().rows(0, columns.get()).map(|row| row.trim_end().to_string());
        rows.collect::<Vec<_>>().join("\n")
    };
    let finished = |epoch: u64| {
        let text = format!("epoch {epoch:>4}/1000");
        move |line: &str| line.starts_with(&text)
    };
    let mut wait_for = |epoch: u64| {
        let start = Instant::now();
        while !shown().lines().any(finished(epoch)) {
            assert!(start.elapsed() < Duration::from_secs(120), "{}", shown());
            assert!(child.try_wait().unwrap().is_none(), "{}", shown());
            thread::sleep(Duration::from_millis(5));
        }
    };
    for (epoch, columns) in [(1, 72), (3, 130), (5, 100)] {
        wait_for(epoch);
        resize(&ours, &screen, columns);
    }
    wait_for(7);
    assert!(shown().contains(" left"), "a bar: {}", shown());
    ours.write_all(b"\x03").unwrap();
    let status = child.wait().unwrap();
    reader.join().unwrap();
    let shown = shown();
    assert_eq!(status.code(), Some(130), "{shown}");

    let metrics = fs::read_to_string(folder.path().join("run/metrics.csv")).unwrap();
    let epochs = metrics.lines().count() as u64 - 1; // with epoch 0
    assert!((8..100).contains(&epochs), "{shown}");
    for epoch in 0..epochs {
        let lines: Vec<&str> = shown.lines().filter(|line| finished(epoch)(line)).collect();
        assert!(matches!(&lines[..], [line] if line.ends_with('%')), "epoch {epoch}: {shown}");
    }
    // At most the one behind which Ctrl-C was typed.
    let bars: Vec<&str> =
        shown.split('\n').filter(|line| line.contains(" % ") && line.contains(" left")).collect();
    assert!(bars.len() < 2, "bars are left: {shown}");
    let (_, behind) = shown.split_once("^C").unwrap();
    assert!(!behind.contains(" left"), "a bar is left: {shown}");
    assert!(shown.replace('\n', " ").contains("f3-tch resume run"), "{shown}");
}
