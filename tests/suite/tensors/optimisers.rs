//! Optimiser steps.

use super::*;

/// One parameter run's three steps under a rule.
pub(super) fn check_optimizer<B: TensorBackend>(backend: &B, rule: Rule, clip: f32, decay: f32, len: usize) {
    let offset = 5;
    let mut truth: Vec<(f64, f64, f64)> = values("weights", len).iter().map(|w| (f64::from(*w), 0.0, 0.0)).collect();
    let start: Vec<f32> = truth.iter().map(|t| t.0 as f32).collect();
    let mut params = tensor(backend, offset, &start);
    let (mut first, mut second) = (tensor(backend, offset, &vec![0.0; len]), tensor(backend, offset, &vec![0.0; len]));
    if matches!(rule, Rule::Sgd { .. }) {
        // The first step does not read what is there.
        first = tensor(backend, offset, &vec![f32::NAN; len]);
    }
    for time in 1..=3 {
        let grads = values(&format!("gradient {time}"), len);
        let norm: f64 = grads.iter().map(|g| f64::from(*g).powi(2)).sum();
        let (given, norms) = (tensor(backend, offset, &grads), tensor(backend, 2, &[norm as f32]));
        let step = Step { rule, offset, len, rate: 0.05, decay, time, clip, norm_slot: 2 };
        backend.optimize(&step, &given, &norms, &mut params, &mut first, &mut second).expect("optimize");
        let other = Step { rate: 0.0501, ..step };
        let norm = f64::from(norm as f32);
        let moved: Vec<f64> =
            truth.iter().zip(&grads).map(|(t, g)| stepped(&other, norm, f64::from(*g), *t).0).collect();
        truth.iter_mut().zip(&grads).for_each(|(t, g)| *t = stepped(&step, norm, f64::from(*g), *t));
        let got = read(backend, &params, offset, len);
        let want: Vec<f64> = truth.iter().map(|t| t.0).collect();
        let what = format!("{rule:?}, clip {clip}, decay {decay}, {len} parameters, step {time}");
        assert_close(&what, &wide(&got), &want, 3e-6, 3e-6);
        assert!(len < 200 || differs(&wide(&got), &moved, 3e-6, 3e-6), "{what}: another rate went unnoticed");
    }
    // Without momentum `first` is nobody's.
    let firsts = read(backend, &first, offset, len);
    let seconds = read(backend, &second, offset, len);
    if rule != (Rule::Sgd { momentum: 0.0 }) {
        assert_close("first", &wide(&firsts), &truth.iter().map(|t| t.1).collect::<Vec<_>>(), 1e-5, 1e-5);
    }
    if matches!(rule, Rule::Adam { .. }) {
        assert_close("second", &wide(&seconds), &truth.iter().map(|t| t.2).collect::<Vec<_>>(), 1e-5, 1e-5);
    }
}

pub(super) fn case_optimizer<B: TensorBackend>(backend: &B) {
    let adam = |decoupled| Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decoupled };
    let rules = [
        Rule::Sgd { momentum: 0.0 },
        Rule::Sgd { momentum: 0.9 },
        adam(false),
        adam(true),
        Rule::Adagrad { epsilon: 1e-10 },
    ];
    for rule in rules {
        for (len, clip, decay) in
            [(0, 1.0, 0.0), (1, f32::INFINITY, 0.1), (255, 1.0, 0.1), (257, 1e6, 0.0), (700, 2.5, 0.01)]
        {
            check_optimizer(backend, rule, clip, decay, len);
        }
        // A norm that is not a number does not pass for a small one.
        let (grads, norms) = (tensor(backend, 0, &[1.0; 8]), tensor(backend, 0, &[f32::NAN]));
        let [mut params, mut first, mut second] = [1.0f32, 0.0, 0.0].map(|v| tensor(backend, 0, &[v; 8]));
        let step = Step { rule, offset: 2, len: 4, rate: 0.1, decay: 0.0, time: 1, clip: 1.0, norm_slot: 0 };
        backend.optimize(&step, &grads, &norms, &mut params, &mut first, &mut second).expect("optimize");
        let got = read(backend, &params, 0, 8);
        assert!(got[2..6].iter().all(|v| v.is_nan()), "{rule:?}: {got:?}");
        assert!(got[..2].iter().chain(&got[6..]).all(|v| *v == 1.0), "{rule:?}: {got:?}");
    }
}
