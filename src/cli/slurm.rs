//! Scripts for SLURM: a sweep as an array of tasks, each of which can be cut off and goes on later.

use anyhow::{Result, bail};

/// Clusters refuse larger arrays, unless their administrators have changed that; a task then has several
/// runs.
const MOST_TASKS: usize = 1000;

/// A script for sbatch that trains so many runs with `command`, to which the task's share is added.
///
/// Two minutes before its time is over, SLURM sends SIGUSR1 to the script, which sends SIGTERM to the
/// program; this ends with its epoch, and the task is put back into the queue.
pub fn script(name: &str, command: &str, runs: usize, time: &str) -> Result<String> {
    if runs == 0 {
        bail!("all runs of the sweep are complete; there is nothing to submit");
    }
    let folder = std::env::current_dir()?;
    let (tasks, folder) = (runs.min(MOST_TASKS), quoted([folder.display().to_string()]));
    Ok(format!(
        "#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --array=1-{tasks}
#SBATCH --cpus-per-task=1
#SBATCH --time={time}
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output={name}-%a.log
cd {folder} || exit
{command} --jobs 1 --shard \"$SLURM_ARRAY_TASK_ID/{tasks}\" &
program=$!
time_is_over=
trap 'time_is_over=yes; kill -TERM \"$program\"' USR1
trap 'kill -TERM \"$program\"' TERM # scancel
wait \"$program\"
code=$?
while kill -0 \"$program\" 2>/dev/null; do # the signal has ended the wait, not the program
  wait \"$program\"
  code=$?
done
if [ -n \"$time_is_over\" ] && [ \"$code\" -eq 143 ]; then # it goes on when there is time again
  scontrol requeue \"${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}\" && exit 0
fi
exit \"$code\"
"
    ))
}

/// Words as a shell reads them.
pub fn quoted<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,+@%".contains(c);
    let quote = |word: T| {
        let word = word.as_ref();
        match !word.is_empty() && word.chars().all(is_plain) {
            true => word.to_string(),
            false => format!("'{}'", word.replace('\'', r"'\''")),
        }
    };
    words.into_iter().map(quote).collect::<Vec<_>>().join(" ")
}
