//! Learning rate and temperature at a step.

use super::config::{Estimator, RqVae, ScheduleKind};

/// Share of a one-cycle's steps that rise, and where it begins, as PyTorch's `OneCycleLR` has them.
const RISE: f64 = 0.3;
const BEGIN: f64 = 1.0 / 25.0;

/// Half a cosine from `a` at 0 to `b` at 1.
fn cosine(a: f64, b: f64, at: f64) -> f64 {
    b + 0.5 * (a - b) * (1.0 + libm::cos(std::f64::consts::PI * at.clamp(0.0, 1.0)))
}

/// Learning rate of step `step` (from 0) of `total`.
#[must_use]
pub fn learning_rate(config: &RqVae, step: u64, total: u64) -> f64 {
    let (schedule, peak) = (&config.schedule, config.optimizer.rate);
    let (t, warmup) = (step as f64, schedule.warmup_steps as f64);
    let last = (total.max(2) - 1) as f64;
    if schedule.kind == ScheduleKind::OneCycle {
        let top = RISE * last;
        return if t <= top {
            peak * cosine(BEGIN, 1.0, t / top)
        } else {
            peak * cosine(1.0, schedule.least, (t - top) / (last - top))
        };
    }
    if t < warmup {
        return peak * (t + 1.0) / warmup;
    }
    match schedule.kind {
        ScheduleKind::Cosine => peak * cosine(1.0, schedule.least, (t - warmup) / (last - warmup).max(1.0)),
        _ => peak,
    }
}

/// Gumbel-softmax temperature of a step; 1 where it is not used.
#[must_use]
pub fn temperature(config: &RqVae, step: u64, total: u64) -> f64 {
    match config.estimator {
        Estimator::Gumbel { from, to } => {
            let at = step as f64 / (total.max(2) - 1) as f64;
            from * libm::exp(at.clamp(0.0, 1.0) * libm::log(to / from))
        }
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::Schedule;
    use super::*;

    fn config(kind: ScheduleKind, warmup_steps: usize) -> RqVae {
        let mut config = RqVae { schedule: Schedule { kind, warmup_steps, least: 0.1 }, ..RqVae::default() };
        config.optimizer.rate = 2.0;
        config
    }

    #[test]
    fn rates_follow_their_formulas() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} is not {b}");
        let constant = config(ScheduleKind::Constant, 4);
        close(learning_rate(&constant, 0, 100), 0.5);
        close(learning_rate(&constant, 3, 100), 2.0);
        close(learning_rate(&constant, 99, 100), 2.0);
        let falling = config(ScheduleKind::Cosine, 0);
        close(learning_rate(&falling, 0, 101), 2.0);
        close(learning_rate(&falling, 50, 101), 1.1);
        close(learning_rate(&falling, 100, 101), 0.2);
        let cycle = config(ScheduleKind::OneCycle, 0);
        close(learning_rate(&cycle, 0, 101), 0.08);
        close(learning_rate(&cycle, 30, 101), 2.0);
        close(learning_rate(&cycle, 65, 101), 1.1);
        close(learning_rate(&cycle, 100, 101), 0.2);
        // A training of one step has a rate too.
        assert!(learning_rate(&cycle, 0, 1).is_finite() && learning_rate(&falling, 0, 1).is_finite());
    }

    #[test]
    fn temperature_falls_geometrically() {
        let mut gumbel = config(ScheduleKind::Constant, 0);
        gumbel.estimator = Estimator::Gumbel { from: 4.0, to: 0.25 };
        assert!((temperature(&gumbel, 0, 5) - 4.0).abs() < 1e-12);
        assert!((temperature(&gumbel, 2, 5) - 1.0).abs() < 1e-12);
        assert!((temperature(&gumbel, 4, 5) - 0.25).abs() < 1e-12);
        assert_eq!(temperature(&RqVae::default(), 3, 5), 1.0);
    }
}
