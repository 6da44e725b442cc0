use rand::Rng;
use refrain_kernels::{Compute, DropoutKey, Panels, Scalar, dropout};

use super::ModelConfig;
use super::batch::SequenceBatch;
use super::encoder::{Encoder, EncoderSpace, InputShape, Output};
use crate::nn::{
    Linear, PackedLinear, Parameter, Parameters, Pooling, PoolingSpace, SoftmaxCrossEntropy, Steps,
    pool_backward, pool_forward,
};

/// The mask before the linear layer: a number that no layer has.
const OUTPUT_MASK: u64 = (1 << 40) + 1;

/// An encoder, then a linear layer to the scores of the classes: of every step (tagging, many to many), or of the pooled
/// states of a sequence (classification, many to one). That is all the difference between the two.
///
/// ```text
/// h_t = encoder(x)_t
/// tag:       y_t = W h_t + b            L = mean of -log softmax(y_t)[label_t] over all steps with a label
/// classify:  y = W pool(h_1..h_T) + b   L = -log softmax(y)[label]
/// ```
///
/// With class weights each term counts as much as its label's weight, and so does its share of the mean.
///
/// # Shapes
/// The encoder's parameters; `linear.weight`: `(classes, output_size)`; `linear.bias`: `(classes)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Labeller<T> {
    /// The architecture.
    pub config: ModelConfig,
    /// From sequences to hidden states.
    pub encoder: Encoder<T>,
    /// From hidden states to scores.
    pub linear: Linear<T>,
    output: Output,
}

/// What passes over a [`Labeller`] reuse.
#[derive(Clone, Debug, Default)]
pub struct LabellerSpace<T> {
    /// The encoder's part.
    pub encoder: EncoderSpace<T>,
    linear: PackedLinear<T>,
    pooling: PoolingSpace,
    /// What the linear layer reads: pooled, dropped.
    top: Panels<T>,
    d_top: Panels<T>,
    d_output: Panels<T>,
    top_steps: Steps,
    scores: Panels<T>,
    loss: SoftmaxCrossEntropy,
}

impl<T: Scalar> LabellerSpace<T> {
    /// What the last pass left of the scores: themselves after [`Labeller::scores`].
    #[must_use]
    pub fn scores(&self) -> &Panels<T> {
        &self.scores
    }

    /// The loss of each label of the last pass, nats.
    #[must_use]
    pub fn losses(&self) -> &[f64] {
        self.loss.losses()
    }
}

/// The labels of a batch, in the order of its rows (of its sequences, for a classifier), and how much each counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelBatch {
    /// The classes; any where the weight is 0.
    pub labels: Vec<u32>,
    /// The weights; 0 where there is no label.
    pub weights: Vec<f64>,
}

impl<T: Scalar> Labeller<T> {
    /// A model of zeros.
    #[must_use]
    pub fn zeros(config: &ModelConfig, shape: &InputShape, output: Output, classes: usize) -> Self {
        let encoder = Encoder::zeros(config, shape, output, "");
        Self {
            config: config.clone(),
            linear: Linear::zeros("linear", encoder.output_size(), classes),
            encoder,
            output,
        }
    }

    /// What its labels are of.
    #[must_use]
    pub fn output(&self) -> Output {
        self.output
    }

    /// A model with weights drawn from `rng`.
    #[must_use]
    pub fn new(
        config: &ModelConfig,
        shape: &InputShape,
        output: Output,
        classes: usize,
        rng: &mut impl Rng,
    ) -> Self {
        let mut model = Self::zeros(config, shape, output, classes);
        model.encoder.initialise(rng);
        model.linear.initialise(rng);
        model
    }

    /// The number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.linear.output_size()
    }

    /// How hidden states become one for each sequence, where they must.
    fn pooling(&self) -> Option<Pooling> {
        (self.output == Output::Sequence && !self.encoder.gives_sequences())
            .then_some(self.config.pooling)
    }

    /// Lays the weights out for the kernels; `with_backward` also for the backward pass.
    pub fn pack(&self, space: &mut LabellerSpace<T>, with_backward: bool) {
        self.encoder.pack(&mut space.encoder, with_backward);
        self.linear.pack(&mut space.linear, with_backward);
    }

    /// The scores of a batch, in [`LabellerSpace::scores`]: a row for each step, or for each sequence.
    ///
    /// # Panics
    /// If the batch is not what the model was made for, or the weights were not packed.
    pub fn scores(
        &self,
        compute: &Compute,
        space: &mut LabellerSpace<T>,
        batch: &SequenceBatch<T>,
        mask: Option<DropoutKey>,
    ) {
        self.encoder
            .forward(compute, &mut space.encoder, batch, mask);
        let output = self.encoder.output(&space.encoder);
        match self.pooling() {
            Some(pooling) => pool_forward(
                pooling,
                &batch.steps,
                self.encoder.reverse_from(),
                output,
                &mut space.top,
                &mut space.pooling,
            ),
            None => space.top.clone_from(output),
        }
        match self.output {
            Output::Steps | Output::Past => space.top_steps.clone_from(&batch.steps),
            Output::Sequence | Output::Features => {
                space.top_steps.set_uniform(1, batch.steps.batch())
            }
        }
        self.mask_top(compute, &space.top_steps, &mut space.top, mask);
        self.linear
            .forward(compute, &space.linear, &space.top, &mut space.scores);
    }

    fn mask_top(
        &self,
        compute: &Compute,
        steps: &Steps,
        top: &mut Panels<T>,
        mask: Option<DropoutKey>,
    ) {
        if let Some(key) = mask.filter(|_| self.config.dropout > 0.0) {
            let key = DropoutKey {
                layer: OUTPUT_MASK,
                ..key
            };
            dropout(compute, key, self.config.dropout, steps.offsets(), top);
        }
    }

    /// One forward and backward pass: the weighted mean of the losses in nats, its gradients in the parameters.
    ///
    /// # Panics
    /// If the batch is not what the model was made for, or there are not as many labels as rows.
    pub fn loss_and_gradients(
        &mut self,
        compute: &Compute,
        space: &mut LabellerSpace<T>,
        batch: &SequenceBatch<T>,
        labels: &LabelBatch,
        mask: Option<DropoutKey>,
    ) -> f64 {
        self.pack(space, true);
        self.scores(compute, space, batch, mask);
        let total = space.loss.forward_backward_weighted(
            compute,
            &mut space.scores,
            &labels.labels,
            &labels.weights,
        );
        self.linear.backward(
            compute,
            &mut space.linear,
            &space.top_steps,
            &space.top,
            &space.scores,
            &mut space.d_top,
        );
        self.mask_top(compute, &space.top_steps, &mut space.d_top, mask);
        let d_output = match self.pooling() {
            Some(pooling) => {
                pool_backward(
                    pooling,
                    &batch.steps,
                    self.encoder.reverse_from(),
                    &space.d_top,
                    &mut space.d_output,
                    &space.pooling,
                );
                &space.d_output
            }
            None => &space.d_top,
        };
        self.encoder
            .backward(compute, &mut space.encoder, batch, d_output, mask);
        let weights: f64 = labels.weights.iter().sum();
        if weights > 0.0 { total / weights } else { 0.0 }
    }

    /// The weighted sum of the losses in nats, without gradients or dropout. The weights must have been packed since they
    /// last changed. The scores become probabilities that do not add up to 1.
    ///
    /// # Panics
    /// As [`Labeller::loss_and_gradients`].
    pub fn loss(
        &self,
        compute: &Compute,
        space: &mut LabellerSpace<T>,
        batch: &SequenceBatch<T>,
        labels: &LabelBatch,
    ) -> f64 {
        self.scores(compute, space, batch, None);
        space
            .loss
            .forward(compute, &mut space.scores, &labels.labels);
        space.loss.weighted_sum(&labels.weights)
    }
}

impl<T: Scalar> Parameters<T> for Labeller<T> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        self.encoder.visit(visit);
        self.linear.visit(visit);
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        self.encoder.visit_mut(visit);
        self.linear.visit_mut(visit);
    }

    fn visit_buffers<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        self.encoder.visit_buffers(visit);
    }

    fn visit_buffers_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        self.encoder.visit_buffers_mut(visit);
    }
}
