//! What the kernel says about a process: CPU time and memory. It measures and decides nothing.

use std::fs;

use anyhow::Context as _;

/// Kernel ticks per second, the same on every Linux that we run on.
const TICKS: f64 = 100.0;

/// The fields of `/proc/<pid>/stat` after the command's name: parent, and CPU ticks of the process and of children
/// that it has waited for.
struct Stat {
    parent: u32,
    own: u64,
    ended_children: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(number(1)?).ok()?,
        own: number(11)? + number(12)?,
        ended_children: number(13)? + number(14)?,
    })
}

/// CPU seconds of a process without its children.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    stat(pid).map_or(0.0, |stat| seconds(stat.own))
}

/// CPU seconds of a process and its children, those that have ended included.
pub(crate) fn cpu_seconds_with_children(pid: u32) -> f64 {
    let children = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let child = stat(entry.file_name().to_str()?.parse().ok()?)?;
        (child.parent == pid).then_some(child.own + child.ended_children)
    });
    let own = stat(pid).map_or(0, |stat| stat.own + stat.ended_children);
    seconds(own + children.sum::<u64>())
}

fn seconds(ticks: u64) -> f64 {
    u32::try_from(ticks).map_or(f64::MAX, f64::from) / TICKS
}

/// MB (10^6 bytes) of a line of `/proc/<pid>/status`, such as `VmRSS`.
pub(crate) fn memory_mb(pid: u32, line: &str) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = text.lines().find_map(|it| it.strip_prefix(line)?.strip_prefix(':')?.trim().strip_suffix(" kB"));
    let kib: f64 = value.with_context(|| format!("no {line}"))?.parse()?;
    Ok(kib * 1024.0 / 1e6)
}
