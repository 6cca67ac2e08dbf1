//! Deletes a blob.

use http::Method;
use shale_oci::{Digest, Repository};

use crate::auth::Scopes;
use crate::blob::read::blob_path;
use crate::client::{Call, Client};
use crate::manifest::DeleteError;

impl Client {
    /// Deletes a blob from a repository.
    ///
    /// # Errors
    /// [`DeleteError::Unsupported`] when the registry does not delete.
    ///
    /// Source: distribution-spec v1.1, "Deleting Blobs".
    pub async fn delete_blob(&self, repository: &Repository, digest: Digest) -> Result<(), DeleteError> {
        let endpoint = self.writer(repository)?;
        let call = Call::new(Method::DELETE, blob_path(repository, digest), Scopes::delete(repository));
        let reply = self.call(&endpoint, &digest.to_string(), &call).await?;
        self.deleted(reply).await
    }
}
