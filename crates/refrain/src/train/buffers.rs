use crate::nn::Parameters;

/// The buffers (running statistics) of a model before a step, for the case that its loss or gradient is not finite.
#[derive(Clone, Debug, Default)]
pub(super) struct KeptBuffers(Vec<Vec<f32>>);

impl KeptBuffers {
    /// Keeps those of a model as they are.
    pub(super) fn keep(&mut self, model: &dyn Parameters<f32>) {
        let mut at = 0;
        model.visit_buffers(&mut |buffer| {
            match self.0.get_mut(at) {
                Some(values) => values.copy_from_slice(&buffer.value),
                None => self.0.push(buffer.value.clone()),
            }
            at += 1;
        });
    }

    /// Puts them back.
    pub(super) fn put_back(&self, model: &mut dyn Parameters<f32>) {
        let mut kept = self.0.iter();
        model.visit_buffers_mut(&mut |buffer| {
            if let Some(values) = kept.next() {
                buffer.value.copy_from_slice(values);
            }
        });
    }
}
