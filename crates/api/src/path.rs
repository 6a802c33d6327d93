//! Path parameters: an id that is not even an id names nothing, so it is answered like any unknown one.

use axum::{
    extract::{FromRequestParts, Path, rejection::PathRejection},
    http::request::Parts,
};
use schemars::JsonSchema;
use uuid::{Uuid, fmt::Hyphenated};

use crate::{
    error::{Code, Error},
    openapi::{Operation, Part},
};

/// The id in a route's path; what is not a UUID with hyphens is 404 `not_found`.
#[derive(Clone, Copy, Debug)]
pub struct PathParams<T>(pub T);

impl<T: JsonSchema> Part for PathParams<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.takes_path::<T>("What is not an id is answered like an id that does not exist.");
        operation.fails(&[Code::NotFound]);
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathParams<Uuid> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let Path(text): Path<String> = Path::from_request_parts(parts, state).await.map_err(refusal)?;
        id(&text).map(Self).ok_or_else(Error::not_found)
    }
}

/// With hyphens and without anything around them, in letters of either case (RFC 9562, 4): some libraries write capitals.
fn id(text: &str) -> Option<Uuid> {
    (text.len() == Hyphenated::LENGTH).then(|| Uuid::try_parse(text).ok()).flatten()
}

/// A route declared with other parameters than its handler takes is our fault, everything else the client's.
pub(crate) fn refusal(rejection: PathRejection) -> Error {
    if rejection.status().is_client_error() { Error::not_found() } else { Error::internal(rejection) }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, http::Request, http::StatusCode, routing::get};
    use tower::ServiceExt;

    use super::*;

    async fn status(uri: &str) -> StatusCode {
        let app = Router::new()
            .route("/things/{id}", get(async |PathParams(_): PathParams<Uuid>| "found"))
            .route("/wrong/{id}/{other}", get(async |PathParams(_): PathParams<Uuid>| "found"));
        app.oneshot(Request::get(uri).body(Body::empty()).unwrap()).await.unwrap().status()
    }

    #[tokio::test]
    async fn what_is_not_an_id_names_nothing() {
        for id in ["01890a5d-ac96-774b-bcce-b302099a8057", "01890A5D-AC96-774B-BCCE-B302099A8057"] {
            assert_eq!(status(&format!("/things/{id}")).await, StatusCode::OK);
        }
        for id in [
            "1",
            "%00",
            "%ff",
            "01890a5d-ac96-774b-bcce-b302099a805",
            "01890a5dac96774bbcceb302099a8057",
            "%7B01890a5d-ac96-774b-bcce-b302099a8057%7D",
            "urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057",
            "'%20or%201=1",
        ] {
            assert_eq!(status(&format!("/things/{id}")).await, StatusCode::NOT_FOUND, "{id}");
        }
    }

    #[tokio::test]
    async fn a_handler_that_does_not_fit_its_route_is_our_fault() {
        let id = Uuid::nil();
        assert_eq!(status(&format!("/wrong/{id}/{id}")).await, StatusCode::INTERNAL_SERVER_ERROR);
    }
}
