use refrain_kernels::{
    AdamStep, Compute, RootStep, Scalar, SgdStep, adam, root, sgd, sum_of_squares,
};

use super::{OptimizerConfig, OptimizerKind, Schedule};
use crate::nn::Parameters;

const ADAM_BETAS: (f64, f64) = (0.9, 0.999);
const ADAM_EPSILON: f64 = 1e-8;
/// PyTorch's defaults: the share of the squares that RMSprop keeps, and what is added to a root.
const RMSPROP_ALPHA: f64 = 0.99;
const RMSPROP_EPSILON: f64 = 1e-8;
const ADAGRAD_EPSILON: f64 = 1e-10;
/// PyTorch's `clip_grad_norm_` adds this to the norm.
const CLIP_EPSILON: f64 = 1e-6;
/// Where the cosine ends, as a share of the highest learning rate.
const COSINE_END: f64 = 0.1;
/// The shares of the run after which the schedule `step` takes its steps, and the factor of each.
const STEP_SHARES: [f64; 3] = [0.5, 0.75, 0.9];
const STEP_FACTOR: f64 = 0.3;

/// An optimiser with its moments, one slice for each parameter in the order of [`Parameters::visit`].
#[derive(Clone, Debug, PartialEq)]
pub struct Optimizer<T> {
    config: OptimizerConfig,
    first: Vec<Vec<T>>,
    second: Vec<Vec<T>>,
}

/// What an update found and did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// L2 norm of the whole gradient before clipping.
    pub grad_norm: f64,
    /// L2 norm after clipping.
    pub clipped_norm: f64,
}

impl Update {
    /// Whether the gradient was scaled down.
    #[must_use]
    pub fn clipped(&self) -> bool {
        self.clipped_norm < self.grad_norm
    }
}

/// The L2 norm of the gradient of all parameters together, summed in `f64` in one order.
///
/// Not a number or infinite if any element is.
pub fn gradient_norm<T: Scalar>(compute: &Compute, parameters: &dyn Parameters<T>) -> f64 {
    let mut sum = 0.0;
    parameters.visit(&mut |parameter| sum += sum_of_squares(compute, &parameter.grad));
    f64::sqrt(sum)
}

impl<T: Scalar> Optimizer<T> {
    /// An optimiser for `parameters`, its moments zero.
    pub fn new(config: &OptimizerConfig, parameters: &dyn Parameters<T>) -> Self {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        parameters.visit(&mut |parameter| {
            let (has_first, has_second) = match config.kind {
                OptimizerKind::Sgd => (true, false),
                OptimizerKind::Adam | OptimizerKind::AdamW => (true, true),
                OptimizerKind::RmsProp | OptimizerKind::Adagrad => (false, true),
            };
            if has_first {
                first.push(vec![T::ZERO; parameter.len()]);
            }
            if has_second {
                second.push(vec![T::ZERO; parameter.len()]);
            }
        });
        Self {
            config: config.clone(),
            first,
            second,
        }
    }

    /// The moments: names of the kinds, and for each kind a slice for each parameter, or none where the rule has no such
    /// moment (`sgd` no second, `rmsprop` and `adagrad` no first).
    pub fn moments(&self) -> [(&'static str, &[Vec<T>]); 2] {
        [("first", &self.first), ("second", &self.second)]
    }

    /// The same, to be restored.
    pub fn moments_mut(&mut self) -> [(&'static str, &mut [Vec<T>]); 2] {
        [("first", &mut self.first), ("second", &mut self.second)]
    }

    /// The learning rate of a step.
    ///
    /// `step` counts from 1; `progress` is the share of the run that has passed before it, for the
    /// schedules that follow it. What [`Plateau`](super::Plateau) has found is a factor beside it.
    #[must_use]
    pub fn learning_rate(&self, step: u64, progress: f64) -> f64 {
        let peak = self.config.learning_rate;
        let warmup = self.config.warmup_steps;
        if step <= warmup {
            return peak * step as f64 / warmup as f64;
        }
        match self.config.schedule {
            Schedule::Constant | Schedule::Plateau => peak,
            Schedule::Step => STEP_SHARES
                .iter()
                .filter(|&&share| progress >= share)
                .fold(peak, |rate, _| rate * STEP_FACTOR),
            Schedule::Cosine => {
                let phase = std::f64::consts::PI * progress.clamp(0.0, 1.0);
                let share = 0.5 * (1.0 + libm::cos(phase));
                peak * (COSINE_END + (1.0 - COSINE_END) * share)
            }
        }
    }

    /// What an update of a gradient with this norm will do.
    #[must_use]
    pub fn clip(&self, grad_norm: f64) -> Update {
        let clipped_norm = match self.config.clip_norm {
            Some(most) if grad_norm > most => grad_norm * (most / (grad_norm + CLIP_EPSILON)),
            _ => grad_norm,
        };
        Update {
            grad_norm,
            clipped_norm,
        }
    }

    /// Clips by one norm over all parameters and takes step number `step` (from 1).
    pub fn update(
        &mut self,
        compute: &Compute,
        parameters: &mut dyn Parameters<T>,
        step: u64,
        learning_rate: f64,
        update: Update,
    ) {
        let gradient_scale = match self.config.clip_norm {
            Some(most) if update.clipped() => most / (update.grad_norm + CLIP_EPSILON),
            _ => 1.0,
        };
        let mut at = 0;
        match self.config.kind {
            OptimizerKind::Sgd => {
                let step = SgdStep {
                    gradient_scale,
                    momentum: self.config.momentum,
                    learning_rate,
                    l2: self.config.weight_decay,
                };
                parameters.visit_mut(&mut |parameter| {
                    let (value, velocity) = (&mut parameter.value, &mut self.first[at]);
                    sgd(compute, step, value, &parameter.grad, velocity);
                    at += 1;
                });
            }
            OptimizerKind::Adam | OptimizerKind::AdamW => {
                let step = self.adam_step(gradient_scale, step, learning_rate);
                parameters.visit_mut(&mut |parameter| {
                    let (first, second) = (&mut self.first[at], &mut self.second[at]);
                    let value = &mut parameter.value;
                    adam(compute, step, value, &parameter.grad, first, second);
                    at += 1;
                });
            }
            OptimizerKind::RmsProp | OptimizerKind::Adagrad => {
                let step = self.root_step(gradient_scale, learning_rate);
                parameters.visit_mut(&mut |parameter| {
                    let (value, squares) = (&mut parameter.value, &mut self.second[at]);
                    root(compute, step, value, &parameter.grad, squares);
                    at += 1;
                });
            }
        }
    }

    fn adam_step(&self, gradient_scale: f64, step: u64, learning_rate: f64) -> AdamStep {
        let (beta1, beta2) = ADAM_BETAS;
        let decay = self.config.weight_decay;
        let decoupled = self.config.kind == OptimizerKind::AdamW;
        AdamStep {
            gradient_scale,
            beta1,
            beta2,
            epsilon: ADAM_EPSILON,
            step_size: learning_rate / (1.0 - libm::pow(beta1, step as f64)),
            second_scale: 1.0 / libm::sqrt(1.0 - libm::pow(beta2, step as f64)),
            l2: if decoupled { 0.0 } else { decay },
            shrink: if decoupled {
                1.0 - learning_rate * decay
            } else {
                1.0
            },
        }
    }

    fn root_step(&self, gradient_scale: f64, learning_rate: f64) -> RootStep {
        let (keep, add, epsilon) = if self.config.kind == OptimizerKind::Adagrad {
            (1.0, 1.0, ADAGRAD_EPSILON)
        } else {
            (RMSPROP_ALPHA, 1.0 - RMSPROP_ALPHA, RMSPROP_EPSILON)
        };
        RootStep {
            gradient_scale,
            keep,
            add,
            epsilon,
            learning_rate,
            l2: self.config.weight_decay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Parameter;
    use refrain_kernels::Isa;

    struct Two(Parameter<f64>, Parameter<f64>);

    impl Parameters<f64> for Two {
        fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<f64>)) {
            visit(&self.0);
            visit(&self.1);
        }
        fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<f64>)) {
            visit(&mut self.0);
            visit(&mut self.1);
        }
    }

    fn two() -> Two {
        let mut two = Two(Parameter::zeros("a", &[1]), Parameter::zeros("b", &[1]));
        (two.0.grad[0], two.1.grad[0]) = (3.0, 4.0);
        two
    }

    fn config(kind: OptimizerKind) -> OptimizerConfig {
        OptimizerConfig {
            kind,
            learning_rate: 0.1,
            momentum: 0.5,
            weight_decay: 0.0,
            clip_norm: Some(1.0),
            schedule: Schedule::Cosine,
            warmup_steps: 10,
        }
    }

    #[test]
    fn one_norm_over_all_parameters_clips_them_together() {
        let compute = Compute::single(Isa::detect());
        let mut two = two();
        let norm = gradient_norm(&compute, &two);
        assert_eq!(norm, 5.0);
        let mut optimizer = Optimizer::new(&config(OptimizerKind::Sgd), &two);
        let update = optimizer.clip(norm);
        assert!(update.clipped() && (update.clipped_norm - 1.0).abs() < 1e-6);
        optimizer.update(&compute, &mut two, 1, 0.1, update);
        // The direction stays that of (3, 4); clipping each by itself would have given (1, 1).
        assert!((two.0.value[0] + 0.06).abs() < 1e-6 && (two.1.value[0] + 0.08).abs() < 1e-6);
        optimizer.update(&compute, &mut two, 2, 0.1, update);
        assert!(
            (two.0.value[0] + 0.15).abs() < 1e-6,
            "momentum {:?}",
            two.0.value
        );
    }

    #[test]
    fn the_learning_rate_rises_then_follows_half_a_cosine() {
        let optimizer = Optimizer::new(&config(OptimizerKind::Adam), &two());
        assert!((optimizer.learning_rate(5, 0.0) - 0.05).abs() < 1e-12);
        assert!((optimizer.learning_rate(11, 0.5) - 0.1 * 0.55).abs() < 1e-12);
        assert!((optimizer.learning_rate(99, 1.0) - 0.01).abs() < 1e-12);
    }

    #[test]
    fn the_learning_rate_takes_three_steps_down() {
        let settings = OptimizerConfig {
            schedule: Schedule::Step,
            ..config(OptimizerKind::Adam)
        };
        let optimizer = Optimizer::new(&settings, &two());
        for (share, expected) in [
            (0.0, 0.1),
            (0.49, 0.1),
            (0.5, 0.03),
            (0.75, 0.009),
            (0.9, 0.0027),
            (1.0, 0.0027),
        ] {
            let found = optimizer.learning_rate(11, share);
            assert!((found - expected).abs() < 1e-12, "{share}: {found}");
        }
        assert!((optimizer.learning_rate(5, 0.0) - 0.05).abs() < 1e-12);
    }

    #[test]
    fn decay_of_adamw_is_apart_from_the_gradient() {
        let compute = Compute::single(Isa::detect());
        for (kind, expected) in [(OptimizerKind::AdamW, 0.9), (OptimizerKind::Adam, 0.8)] {
            let mut two = two();
            two.0.value[0] = 1.0;
            two.0.grad[0] = 0.0;
            let settings = OptimizerConfig {
                weight_decay: 0.5,
                clip_norm: None,
                ..config(kind)
            };
            let mut optimizer = Optimizer::new(&settings, &two);
            optimizer.update(&compute, &mut two, 1, 0.2, optimizer.clip(4.0));
            // AdamW shrinks by 0.2 * 0.5; Adam sees the gradient 0.5, whose first step is the learning rate.
            assert!(
                (two.0.value[0] - expected).abs() < 1e-6,
                "{kind:?} {}",
                two.0.value[0]
            );
        }
    }
}
