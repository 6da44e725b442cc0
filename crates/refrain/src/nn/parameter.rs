use refrain_kernels::Scalar;

/// A trainable array under PyTorch's name, with its gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter<T> {
    /// The name that files use, for example `rnn.weight_ih_l0`.
    pub name: String,
    /// The shape, as PyTorch has it.
    pub shape: Vec<usize>,
    /// The numbers, row-major.
    pub value: Vec<T>,
    /// Their gradient, written by a backward pass; empty in a buffer.
    pub grad: Vec<T>,
}

impl<T: Scalar> Parameter<T> {
    /// Zeros.
    #[must_use]
    pub fn zeros(name: impl Into<String>, shape: &[usize]) -> Self {
        let count = shape.iter().product();
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            value: vec![T::ZERO; count],
            grad: vec![T::ZERO; count],
        }
    }

    /// An array that belongs to a model but is not trained: it has no gradient.
    #[must_use]
    pub fn buffer(name: impl Into<String>, value: Vec<T>) -> Self {
        Self {
            name: name.into(),
            shape: vec![value.len()],
            value,
            grad: Vec::new(),
        }
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.value.len()
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.value.is_empty()
    }
}

/// Anything made of parameters.
pub trait Parameters<T> {
    /// Calls `visit` on each parameter, always in the same order.
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>));

    /// Calls `visit` on each parameter, in the order of [`Parameters::visit`], to change it.
    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>));

    /// Calls `visit` on each buffer, always in the same order: what files hold beside the parameters and no optimiser
    /// changes.
    fn visit_buffers<'a>(&'a self, _visit: &mut dyn FnMut(&'a Parameter<T>)) {}

    /// Calls `visit` on each buffer, in the order of [`Parameters::visit_buffers`], to change it.
    fn visit_buffers_mut<'a>(&'a mut self, _visit: &mut dyn FnMut(&'a mut Parameter<T>)) {}

    /// The number of trainable numbers.
    fn parameter_count(&self) -> usize
    where
        T: 'static,
    {
        let mut count = 0;
        self.visit(&mut |parameter| count += parameter.value.len());
        count
    }
}
