//! What a handler's signature says: each argument and the answer describe themselves, in the file of their type.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;

use super::operation::Operation;
use crate::state::Api;

/// An argument of a handler: adds its parameters, its body, and what it refuses.
pub(crate) trait Part {
    /// Adds them.
    fn describe(operation: &mut Operation<'_>);
}

/// What a handler returns.
pub(crate) trait Answers {
    /// Adds status, headers, body.
    fn describe(operation: &mut Operation<'_>);
}

impl<T: JsonSchema> Answers for Json<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<T>(200, "It is so.", &[]);
    }
}

impl Part for State<Api> {
    fn describe(_: &mut Operation<'_>) {}
}

impl<T: Answers, E> Answers for Result<T, E> {
    fn describe(operation: &mut Operation<'_>) {
        T::describe(operation);
    }
}

/// A handler, all parts of which describe themselves; `Signature` only tells the implementations apart.
pub(crate) trait Described<Signature> {
    /// Adds all of them.
    fn describe(operation: &mut Operation<'_>);
}

macro_rules! handlers {
    ($(($($part:ident),*))*) => {
        $(impl<F, R, $($part),*> Described<($($part,)* R,)> for F
        where
            F: AsyncHandler<($($part,)*), Answer = R>,
            R: Answers,
            $($part: Part),*
        {
            fn describe(operation: &mut Operation<'_>) {
                $($part::describe(operation);)*
                R::describe(operation);
            }
        }

        impl<F, A, $($part),*> AsyncHandler<($($part,)*)> for F
        where
            F: Fn($($part),*) -> A,
            A: Future,
        {
            type Answer = A::Output;
        })*
    };
}

/// An `async fn` by the types of its arguments.
pub(crate) trait AsyncHandler<Arguments> {
    /// What it answers.
    type Answer;
}

handlers! {
    ()
    (A1)
    (A1, A2)
    (A1, A2, A3)
    (A1, A2, A3, A4)
    (A1, A2, A3, A4, A5)
    (A1, A2, A3, A4, A5, A6)
    (A1, A2, A3, A4, A5, A6, A7)
    (A1, A2, A3, A4, A5, A6, A7, A8)
}
