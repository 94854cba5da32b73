//! Seconds, CPU seconds and peak memory of this process, from `/proc`. Its threads stay to the end, so none is left out of the sum.

use std::time::Instant;

/// What some work cost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) seconds: f64,
    pub(crate) cpu: f64,
    pub(crate) peak_mib: f64,
}

impl Cost {
    pub(crate) fn print(&self, what: &str) {
        println!(
            "{what:<44} {:>8.3} s {:>8.3} CPU s {:>6.0} MiB peak",
            self.seconds, self.cpu, self.peak_mib
        );
    }
}

/// Runs some work and says what it cost.
pub(crate) async fn measured<T>(work: impl Future<Output = T>) -> (T, Cost) {
    // Forgets the peak so far, where the kernel lets us.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let done = work.await;
    let cost = Cost {
        seconds: started.elapsed().as_secs_f64(),
        cpu: cpu_seconds() - cpu,
        peak_mib: peak_mib(),
    };
    (done, cost)
}

/// The one with the median of CPU seconds.
pub(crate) fn median(mut costs: Vec<Cost>) -> Cost {
    costs.sort_by(|a, b| a.cpu.total_cmp(&b.cpu));
    let peak_mib = costs.iter().map(|cost| cost.peak_mib).fold(0.0, f64::max);
    let middle = costs.len() / 2;
    Cost {
        peak_mib,
        ..costs.swap_remove(middle)
    }
}

fn cpu_seconds() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let nanoseconds = threads.map(|thread| {
        let schedule = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
        let on_cpu = schedule.split_whitespace().next().unwrap();
        on_cpu.parse::<f64>().unwrap()
    });
    nanoseconds.sum::<f64>() / 1e9
}

fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib: f64 = line.split_whitespace().next().unwrap().parse().unwrap();
    kib / 1024.0
}
