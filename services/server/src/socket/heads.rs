//! Heads as the journal has them: for a subscribe, for what no wake-up brought, and for all trees
//! with listeners here.

use fsync_core::label::TreeKey;
use fsync_core::service::error::ServiceError;
use fsync_core::service::facts::Questions;
use fsync_core::service::subscribe::Input;
use fsync_core::wire::{Cursor, Epoch, ErrorEvent, Head, Heads, RefEvent, Subscribe, TreeHead};
use tracing::debug;

use super::Sockets;
use crate::clock;

impl Sockets {
    /// Compares what agents were told with the journal: finds heads that no wake-up brought.
    ///
    /// # Errors
    /// [`ServiceError`] of the journal.
    pub async fn look(&self) -> Result<(), ServiceError> {
        let trees = self.lock().hub.trees();
        if trees.is_empty() {
            return Ok(());
        }
        let heads = self.0.store.journal().heads(trees.clone()).await?;
        self.input(Input::Truth(trees.into_iter().zip(heads).collect()));
        Ok(())
    }

    /// Tells the listeners of a tree what its head is, after its positions got another epoch if its
    /// head is `outdated`.
    pub(super) async fn tell(self, tree: TreeKey, outdated: Option<Head>) {
        let told = async {
            if let Some(head) = outdated {
                let epoch = Epoch::mint(clock::random_u64());
                let renewed = self.0.store.journal().renew(tree.clone(), head, epoch);
                renewed.await?;
            }
            let questions = Questions {
                head: true,
                ..Questions::default()
            };
            self.0.store.answer(&tree, questions).await
        };
        match told.await {
            Ok(answers) => {
                if let Some(state) = answers.head.flatten() {
                    self.moved(RefEvent {
                        tree,
                        head: state.head,
                        root: state.revision.root,
                        author: state.revision.author,
                        trace: None,
                    });
                }
            }
            // The next look finds it again.
            Err(error) => debug!(%tree, %error, "a head is told later"),
        }
    }

    pub(super) async fn heads(&self, subscribe: Subscribe) -> Result<Heads, ErrorEvent> {
        // Heard first, read then: no head falls in between.
        self.0.bus.settled().await;
        let mut trees = Vec::with_capacity(subscribe.trees.len());
        for cursor in subscribe.trees {
            let head = self.head(cursor).await.map_err(|error| ErrorEvent {
                id: Some(subscribe.id),
                error: error.to_body(),
            })?;
            trees.push(head);
        }
        Ok(Heads {
            id: Some(subscribe.id),
            trees,
        })
    }

    async fn head(&self, cursor: Cursor) -> Result<TreeHead, ServiceError> {
        let base = cursor.base.map(|base| base.revision);
        let questions = Questions {
            head: true,
            revisions: base.into_iter().collect(),
            ..Questions::default()
        };
        let answers = self.0.store.answer(&cursor.tree, questions).await?;
        Ok(TreeHead {
            tree: cursor.tree,
            head: answers.head.flatten().map(|state| state.head),
            base_known: base.map(|_| answers.revisions.iter().any(|(_, known)| known.is_some())),
        })
    }
}
