//! Every behaviour of a registry that lists tags.

use shale_registry_client::{Limits, ListError};

use crate::support::Case;

async fn tags(case: &Case) -> Result<Vec<String>, ListError> {
    let tags = case.client.tags(&case.repository).await;
    case.assert_nothing_leaked("tags");
    tags.map(|tags| tags.iter().map(ToString::to_string).collect())
}

#[tokio::test]
async fn pages_are_joined() {
    assert_eq!(tags(&Case::new("good")).await.unwrap(), ["a", "b", "c"]);
    assert_eq!(tags(&Case::new("tags-null")).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn names_that_are_no_tags_are_left_out() {
    assert_eq!(tags(&Case::new("tags-weird")).await.unwrap(), ["good"]);
}

#[tokio::test]
async fn lists_without_an_end_are_given_up() {
    let case = Case::new("tags-loop-self");
    assert!(matches!(tags(&case).await, Err(ListError::Loop { .. })));
    assert_eq!(case.registry.requests().len(), 1);
    let case =
        Case::with("tags-loop-new", |options| options.limits = Limits { pages: 20, ..Limits::default() });
    assert!(matches!(tags(&case).await, Err(ListError::TooLong { pages: 20, .. })));
    assert_eq!(case.registry.requests().len(), 20);
}

#[tokio::test]
async fn a_list_goes_on_at_its_own_origin_only() {
    let case = Case::new("cred-basic-tags-evil-link");
    assert!(matches!(tags(&case).await, Err(ListError::OtherOrigin { .. })));
    assert!(!case.registry.strangers_were_asked());
}
