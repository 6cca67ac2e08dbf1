//! Lists in pages: the catalog, tags, referrers.

use http::{HeaderName, HeaderValue, header};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use shale_oci::Digest;

use super::answer::{Answer, Body};
use super::dispatch::Call;
use super::problem::Problem;
use super::query;
use super::receive::metadata_problem;
use super::route::Reference;
use crate::auth::{Action, Identity};
use crate::manifest::OCI_INDEX;
use crate::metadata::Page;
use crate::name::{RepositoryName, Tag};

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// What a client asks of a list.
struct Asked {
    page: Page,
    query: Vec<(String, String)>,
}

fn asked(call: &Call) -> Result<Asked, Problem> {
    let query = call.query();
    let most = call.registry.limits.page_max;
    let limit = match query::first(&query, "n") {
        None => most,
        Some(number) if !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()) => {
            number.parse().unwrap_or(most).min(most)
        }
        Some(_) => return Err(Problem::PaginationNumberInvalid),
    };
    let after = query::first(&query, "last").map(str::to_owned);
    Ok(Asked { page: Page { after, limit }, query })
}

impl Asked {
    /// The page with one more entry, which tells whether there is another page.
    fn with_next(&self) -> Page {
        Page {
            after: self.page.after.clone(),
            limit: if self.page.limit == 0 { 0 } else { self.page.limit + 1 },
        }
    }

    /// Cuts the extra entry off; returns whether it was there.
    fn cut<T>(&self, entries: &mut Vec<T>) -> bool {
        let more = entries.len() > self.page.limit;
        entries.truncate(self.page.limit);
        more
    }

    /// Returns the Link header of the page after `last`, with all other parameters as they came.
    fn next(&self, path: &str, last: &str) -> HeaderValue {
        let others = self.query.iter().filter(|(name, _)| name != "n" && name != "last");
        let others: String = others
            .map(|(name, value)| format!("&{}={}", query::encode(name), query::encode(value)))
            .collect();
        let link =
            format!("<{path}?n={}&last={}{others}>; rel=\"next\"", self.page.limit, query::encode(last));
        HeaderValue::try_from(link).expect("escaped")
    }
}

fn json_answer(body: String) -> Answer {
    let mut answer = Answer::new(Body::from(body));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

pub(super) async fn catalog(call: &Call) -> Result<Answer, Problem> {
    let asked = asked(call)?;
    let (names, more) = visible_repositories(call, &asked).await?;
    let mut answer = json_answer(json!({ "repositories": names }).to_string());
    if let Some(last) = names.last().filter(|_| more) {
        answer.headers_mut().insert(header::LINK, asked.next("/v2/_catalog", last));
    }
    Ok(answer)
}

/// Returns a page of the repositories that the caller may pull, and whether there are more.
async fn visible_repositories(call: &Call, asked: &Asked) -> Result<(Vec<String>, bool), Problem> {
    let metadata = &call.registry.metadata;
    // A token for the catalog names no repositories: its bearer's rights are looked up by name.
    let viewer = Identity { user: call.identity.user.clone(), grants: None };
    let access = &call.registry.access;
    if access.sees_everything(&viewer) || access.external_decides() {
        let mut names = metadata.repositories(asked.with_next()).await.map_err(metadata_problem)?;
        let more = asked.cut(&mut names);
        return Ok((names, more));
    }
    let mut visible = Vec::new();
    let mut page = Page { after: asked.page.after.clone(), limit: 1000 };
    while visible.len() <= asked.page.limit {
        let names = metadata.repositories(page.clone()).await.map_err(metadata_problem)?;
        let Some(last) = names.last().cloned() else { break };
        let allowed = |name: &String| {
            RepositoryName::parse(name).is_ok_and(|name| access.allows(&viewer, &name, Action::Pull))
        };
        visible.extend(names.into_iter().filter(allowed));
        page.after = Some(last);
    }
    let more = asked.cut(&mut visible);
    Ok((visible, more))
}

pub(super) async fn tags(call: &Call, repository: &RepositoryName) -> Result<Answer, Problem> {
    let asked = asked(call)?;
    let found = call.registry.metadata.tags(repository, asked.with_next()).await.map_err(metadata_problem)?;
    let mut tags = found.ok_or(Problem::NameUnknown)?;
    let more = asked.cut(&mut tags);
    let mut answer = json_answer(json!({ "name": repository.as_str(), "tags": tags }).to_string());
    if let Some(last) = tags.last().filter(|_| more) {
        let path = format!("/v2/{repository}/tags/list");
        answer.headers_mut().insert(header::LINK, asked.next(&path, last));
    }
    Ok(answer)
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u8,
    media_type: &'a str,
    manifests: Vec<Box<RawValue>>,
}

pub(super) async fn referrers(
    call: &Call,
    repository: &RepositoryName,
    digest: Digest,
) -> Result<Answer, Problem> {
    let asked = asked(call)?;
    let wanted =
        query::first(&asked.query, "artifactType").filter(|wanted| !wanted.is_empty()).map(str::to_owned);
    let metadata = &call.registry.metadata;
    let mut found = metadata
        .referrers(repository, digest, wanted.clone(), asked.with_next())
        .await
        .map_err(metadata_problem)?;
    let more = asked.cut(&mut found);
    let mut manifests: Vec<Box<RawValue>> = Vec::new();
    for referrer in &found {
        manifests.push(
            RawValue::from_string(referrer.descriptor.clone()).map_err(|error| Problem::internal(&error))?,
        );
    }
    if !more {
        // The last page also has what older clients noted under the fallback tag and the database does not list.
        manifests.extend(noted_under_tag(call, repository, digest, wanted.as_deref()).await?);
    }
    let index = Index { schema_version: 2, media_type: OCI_INDEX, manifests };
    let body = serde_json::to_string(&index).map_err(|error| Problem::internal(&error))?;
    let mut answer = Answer::new(Body::from(body));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(OCI_INDEX));
    if wanted.is_some() {
        headers.insert(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
    }
    if let Some(last) = found.last().filter(|_| more) {
        let path = format!("/v2/{repository}/referrers/{digest}");
        headers.insert(header::LINK, asked.next(&path, &last.digest.to_string()));
    }
    Ok(answer)
}

/// Returns the entries of the index at the tag `<algorithm>-<digits>` whose manifests do not name the subject themselves.
///
/// Source: distribution-spec, "Referrers Tag Schema" and "Enabling the Referrers API".
async fn noted_under_tag(
    call: &Call,
    repository: &RepositoryName,
    subject: Digest,
    wanted: Option<&str>,
) -> Result<Vec<Box<RawValue>>, Problem> {
    let Ok(tag) = Tag::parse(&fallback_tag(subject)) else { return Ok(Vec::new()) };
    let metadata = &call.registry.metadata;
    let index = metadata.find_manifest(repository, &Reference::Tag(tag)).await.map_err(metadata_problem)?;
    let Some(index) = index.filter(|index| index.media_type == OCI_INDEX) else { return Ok(Vec::new()) };
    let Ok(document) = serde_json::from_slice::<Value>(&index.bytes) else { return Ok(Vec::new()) };
    let listed = metadata
        .referrers(repository, subject, None, Page { after: None, limit: call.registry.limits.page_max })
        .await
        .map_err(metadata_problem)?;
    let listed: std::collections::HashSet<String> =
        listed.iter().map(|referrer| referrer.digest.to_string()).collect();
    let entries = document.get("manifests").and_then(Value::as_array).cloned().unwrap_or_default();
    let fits = |entry: &Value| {
        let digest = entry.get("digest").and_then(Value::as_str).unwrap_or("");
        let artifact_type = entry.get("artifactType").and_then(Value::as_str);
        !listed.contains(digest) && wanted.is_none_or(|wanted| artifact_type == Some(wanted))
    };
    let fitting = entries.iter().filter(|entry| fits(entry));
    fitting
        .map(|entry| serde_json::value::to_raw_value(entry).map_err(|error| Problem::internal(&error)))
        .collect()
}

/// Returns the tag under which clients note referrers on registries without the referrers API.
pub(crate) fn fallback_tag(subject: Digest) -> String {
    // Digits are cut at 64: a sha512 digest would not fit a tag.
    let digits = subject.hex();
    format!("{}-{}", subject.algorithm(), &digits[..digits.len().min(64)])
}
