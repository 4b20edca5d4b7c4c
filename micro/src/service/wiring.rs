//! Builds the structs that the running service wires: each field from what the process has.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use crate::auth::Handle as Auth;
use crate::client::{Client, Publisher};
use crate::config::Config;
use crate::core::error::{Error, Result};
use crate::core::future::BoxFuture;
use crate::core::short_name::short_name;
use crate::core::shutdown::{Shutdown, TaskTracker};
use crate::store::Handle as Store;

/// A value that is made from the running service.
///
/// Implemented by generated clients, by the handles [`Client`], `Broker`, [`Store`], [`Config`] and
/// [`Auth`], by structs marked `#[service]`, and by `Arc<T>` of each of them.
///
/// A process has one value of each type. A field gets a clone of it where the type is `Clone`, as
/// an `Arc<T>` is; a value that cannot be cloned belongs to the one field that asks for it. Types
/// that need each other end the start with an error that names the chain.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be wired from the running service",
    label = "not wired",
    note = "mark the field `#[wire(config = \"path\")]` or `#[wire(default)]`, or put `#[service]` on the struct"
)]
pub trait FromService: Sized + Send + Sync + 'static {
    /// Makes the value.
    ///
    /// # Errors
    /// Whatever keeps the process from starting, such as a key that is not configured.
    fn from_service(scope: &Wiring) -> BoxFuture<'_, Result<Self>>;
}

/// What a process has to offer to the structs that are wired in it.
#[derive(Clone)]
pub struct Wiring {
    parts: Arc<Parts>,
    auth: Auth,
    /// The types that are being made, outermost first.
    chain: Vec<(TypeId, &'static str)>,
}

struct Parts {
    client: Client,
    config: Config,
    store: Store,
    shutdown: Shutdown,
    tasks: TaskTracker,
    shared: Mutex<HashMap<TypeId, Slot>>,
}

type Value = Arc<dyn Any + Send + Sync>;

#[derive(Clone)]
enum Slot {
    /// One value for everybody, made once.
    Shared(Arc<OnceCell<Value>>),
    /// One value that a field keeps for itself; who that is.
    Taken(&'static str),
}

impl Wiring {
    /// Offers the parts of a process.
    pub fn new(
        client: Client,
        config: Config,
        store: Store,
        shutdown: Shutdown,
        tasks: TaskTracker,
    ) -> Self {
        let parts = Parts { client, config, store, shutdown, tasks, shared: Mutex::default() };
        Self { parts: Arc::new(parts), auth: Auth::default(), chain: Vec::new() }
    }

    /// Offers accounts and rules too; without this, those of nobody.
    #[must_use]
    pub fn with_auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Returns the handle to accounts and rules.
    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    /// Returns the client of the process.
    pub fn client(&self) -> &Client {
        &self.parts.client
    }

    /// Returns the settings of the process.
    pub fn config(&self) -> &Config {
        &self.parts.config
    }

    /// Returns the handle to the database of the process.
    pub fn store(&self) -> &Store {
        &self.parts.store
    }

    /// Returns the lifecycle of the process.
    pub fn shutdown(&self) -> &Shutdown {
        &self.parts.shutdown
    }

    /// Returns the owner of the tasks of the process, which cuts them at the end of a stop.
    ///
    /// Work that must not be cut belongs into [`Context::spawn`] or follows [`Self::shutdown`].
    ///
    /// [`Context::spawn`]: crate::core::context::Context::spawn
    pub fn tasks(&self) -> &TaskTracker {
        &self.parts.tasks
    }

    /// Offers a value that was made elsewhere as the shared one of its type.
    pub fn provide<T: Send + Sync + 'static>(&self, value: Arc<T>) {
        let value: Value = value;
        let cell = OnceCell::new_with(Some(value));
        self.lock().insert(TypeId::of::<T>(), Slot::Shared(Arc::new(cell)));
    }

    /// Returns the one value of a type, made when it is first asked for.
    ///
    /// # Errors
    /// Whatever its making fails with; 412 naming the chain when the type needs itself.
    pub async fn shared<T: FromService>(&self) -> Result<Arc<T>> {
        let inner = self.within::<T>()?;
        let slot = self.lock().entry(TypeId::of::<T>()).or_default().clone();
        let cell = match slot {
            Slot::Shared(cell) => cell,
            Slot::Taken(field) => return Err(kept::<T>(field)),
        };
        let make = async || {
            let value: Value = Arc::new(T::from_service(&inner).await?);
            Ok::<Value, Error>(value)
        };
        let value = Arc::clone(cell.get_or_try_init(make).await?);
        // Invariant: a slot holds a value of the type that it is found by.
        let lost = || Error::internal("micro.service", "a wired value lost its type");
        value.downcast::<T>().ok().ok_or_else(lost)
    }

    /// Makes a value that its asker keeps for itself; there is only one of each type.
    async fn own<T: FromService>(&self, field: &'static str) -> Result<T> {
        let inner = self.within::<T>()?;
        match self.lock().insert(TypeId::of::<T>(), Slot::Taken(field)) {
            None => {}
            Some(Slot::Taken(other)) => return Err(kept::<T>(other)),
            Some(Slot::Shared(_)) => return Err(kept::<T>("the service")),
        }
        T::from_service(&inner).await
    }

    /// Enters the making of a type.
    fn within<T: 'static>(&self) -> Result<Self> {
        let (id, name) = (TypeId::of::<T>(), type_name::<T>());
        if self.chain.iter().any(|(other, _)| *other == id) {
            let chain = self.chain.iter().map(|(_, name)| *name).chain([name]);
            let chain: Vec<_> = chain.map(short_name).filter(|n| !n.starts_with("Arc<")).collect();
            let detail = format!("the wiring is a cycle: {}", chain.join(" -> "));
            return Err(Error::precondition_failed("micro.wiring", detail));
        }
        let mut inner = self.clone();
        inner.chain.push((id, name));
        Ok(inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TypeId, Slot>> {
        self.parts.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::Shared(Arc::default())
    }
}

fn kept<T>(field: &str) -> Error {
    let name = short_name(type_name::<T>());
    let detail = format!(
        "`{name}` cannot be copied and {field} has it already: \
         share it as `Arc<{name}>`, or derive `Clone` for it"
    );
    Error::precondition_failed("micro.wiring", detail)
}

impl fmt::Debug for Wiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain: Vec<_> = self.chain.iter().map(|(_, name)| name).collect();
        f.debug_struct("Wiring").field("chain", &chain).finish_non_exhaustive()
    }
}

#[diagnostic::do_not_recommend]
impl FromService for Client {
    fn from_service(scope: &Wiring) -> BoxFuture<'_, Result<Self>> {
        Box::pin(std::future::ready(Ok(scope.client().clone())))
    }
}

#[diagnostic::do_not_recommend]
impl FromService for Publisher {
    fn from_service(scope: &Wiring) -> BoxFuture<'_, Result<Self>> {
        let publisher = scope.client().publisher().cloned();
        let missing = || Error::precondition_failed("micro.wiring", "the process has no broker");
        Box::pin(std::future::ready(publisher.ok_or_else(missing)))
    }
}

#[diagnostic::do_not_recommend]
impl FromService for Store {
    fn from_service(scope: &Wiring) -> BoxFuture<'_, Result<Self>> {
        Box::pin(std::future::ready(Ok(scope.store().clone())))
    }
}

#[diagnostic::do_not_recommend]
impl FromService for Auth {
    fn from_service(scope: &Wiring) -> BoxFuture<'_, Result<Self>> {
        Box::pin(std::future::ready(Ok(scope.auth().clone())))
    }
}

#[diagnostic::do_not_recommend]
impl FromService for Config {
    fn from_service(scope: &Wiring) -> BoxFuture<'_, Result<Self>> {
        Box::pin(std::future::ready(Ok(scope.config().clone())))
    }
}

#[diagnostic::do_not_recommend]
impl<T: FromService> FromService for Arc<T> {
    fn from_service(scope: &Wiring) -> BoxFuture<'_, Result<Self>> {
        Box::pin(scope.shared::<T>())
    }
}

/// The type of a field that is wired; macro output calls `(&&Field::<T>::new()).wire(..)`.
///
/// A type that is `Clone` is shared: each field gets a clone of the one value. Any other belongs
/// to the one field that asks for it.
pub struct Field<T>(std::marker::PhantomData<fn() -> T>);

impl<T> Field<T> {
    /// Makes the value on which `wire` is called.
    #[expect(clippy::new_without_default, reason = "only macro output makes one")]
    pub const fn new() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<T> fmt::Debug for Field<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Field")
    }
}

/// The arm for types that are `Clone`.
pub trait WireShared<T> {
    /// Takes a clone of the shared value.
    fn wire<'a>(
        &self,
        scope: &'a Wiring,
        owner: &'static str,
        field: &'static str,
    ) -> BoxFuture<'a, Result<T>>;
}

/// The arm for all other types.
pub trait WireOwned<T> {
    /// Makes the value.
    fn wire<'a>(
        &self,
        scope: &'a Wiring,
        owner: &'static str,
        field: &'static str,
    ) -> BoxFuture<'a, Result<T>>
    where
        T: FromService;
}

impl<T: FromService + Clone> WireShared<T> for &Field<T> {
    fn wire<'a>(
        &self,
        scope: &'a Wiring,
        owner: &'static str,
        field: &'static str,
    ) -> BoxFuture<'a, Result<T>> {
        Box::pin(async move {
            let shared = scope.shared::<T>().await.map_err(|error| of(owner, field, &error))?;
            Ok((*shared).clone())
        })
    }
}

impl<T> WireOwned<T> for Field<T> {
    fn wire<'a>(
        &self,
        scope: &'a Wiring,
        owner: &'static str,
        field: &'static str,
    ) -> BoxFuture<'a, Result<T>>
    where
        T: FromService,
    {
        Box::pin(
            async move { scope.own::<T>(owner).await.map_err(|error| of(owner, field, &error)) },
        )
    }
}

/// Reads the value of a field from the configuration; a later change that does not fit it is
/// refused.
///
/// # Errors
/// 412 that names the field, the key, and what is wrong with it.
pub async fn wire_config<T: DeserializeOwned + 'static>(
    scope: &Wiring,
    owner: &'static str,
    field: &'static str,
    path: &'static str,
) -> Result<T> {
    scope.config().require(path).map_err(|error| of(owner, field, &error))
}

/// Makes a generated client.
pub fn wire_client<C: From<Client>>(scope: &Wiring) -> C {
    scope.client().clone().into()
}

/// Puts the name of a field before what is wrong with it.
fn of(owner: &str, field: &str, error: &Error) -> Error {
    let detail = format!("`{owner}.{field}`: {}", error.detail());
    Error::new(error.id().to_owned(), error.code(), detail).with_retry(error.retry())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Memory;
    use serde_json::json;
    use std::sync::atomic::{AtomicUsize, Ordering};

    async fn scope() -> Wiring {
        let document = json!({"smtp": {"port": 25}});
        let config = Config::load(&[Arc::new(Memory::new("test", document))]).await.unwrap();
        let client = Client::builder().build();
        let store = Store::new(crate::store::Memory::new());
        Wiring::new(client, config, store, Shutdown::new(), TaskTracker::new())
    }

    macro_rules! wired {
        ($name:ident { $($field:ident: $kind:ty),* }) => {
            impl FromService for $name {
                fn from_service(scope: &Wiring) -> BoxFuture<'_, Result<Self>> {
                    Box::pin(async move {
                        Ok(Self { $($field: (&&Field::<$kind>::new())
                            .wire(scope, stringify!($name), stringify!($field)).await?),* })
                    })
                }
            }
        };
    }

    static MADE: AtomicUsize = AtomicUsize::new(0);

    #[derive(Clone, Debug)]
    struct Handle(usize);
    impl FromService for Handle {
        fn from_service(_: &Wiring) -> BoxFuture<'_, Result<Self>> {
            Box::pin(async { Ok(Self(MADE.fetch_add(1, Ordering::Relaxed))) })
        }
    }

    #[derive(Debug)]
    struct Left {
        handle: Handle,
    }
    wired!(Left { handle: Handle });

    #[derive(Debug)]
    struct Right {
        left: Arc<Left>,
        handle: Handle,
        client: Client,
    }
    wired!(Right { left: Arc<Left>, handle: Handle, client: Client });

    #[tokio::test]
    async fn a_type_has_one_shared_value() {
        let scope = scope().await;
        let right = scope.shared::<Right>().await.unwrap();
        let left = scope.shared::<Left>().await.unwrap();
        assert!(Arc::ptr_eq(&right.left, &left));
        assert_eq!(right.handle.0, left.handle.0);
        assert!(format!("{:?}", right.client).contains("Client"));
    }

    #[derive(Debug)]
    struct Greedy {
        _left: Left,
    }
    wired!(Greedy { _left: Left });

    #[tokio::test]
    async fn a_value_that_cannot_be_copied_goes_to_one_field() {
        let scope = scope().await;
        scope.shared::<Greedy>().await.unwrap();
        let error = scope.shared::<Left>().await.unwrap_err();
        assert!(error.detail().contains("`Arc<Left>`"), "{error}");
        assert!(error.detail().contains("Greedy"), "{error}");
    }

    #[derive(Debug)]
    struct Hen {
        _egg: Arc<Egg>,
    }
    wired!(Hen { _egg: Arc<Egg> });
    #[derive(Debug)]
    struct Egg {
        _hen: Arc<Hen>,
    }
    wired!(Egg { _hen: Arc<Hen> });

    #[tokio::test]
    async fn a_cycle_names_its_chain() {
        let error = scope().await.shared::<Hen>().await.unwrap_err();
        assert!(error.detail().contains("Hen -> Egg -> Hen"), "{error}");
        assert!(error.detail().contains("`Egg._hen`"), "{error}");
    }

    #[tokio::test]
    async fn a_missing_key_names_the_field_and_the_key() {
        let scope = scope().await;
        let error = wire_config::<String>(&scope, "Mailer", "host", "smtp.host").await.unwrap_err();
        for part in ["`Mailer.host`", "`smtp.host`", "MICRO_CONFIG_SMTP__HOST"] {
            assert!(error.detail().contains(part), "{error}");
        }
        let port: u16 = wire_config(&scope, "Mailer", "port", "smtp.port").await.unwrap();
        assert_eq!(port, 25);
    }

    #[tokio::test]
    async fn a_provided_value_is_the_shared_one() {
        let scope = scope().await;
        scope.provide(Arc::new(Handle(77)));
        assert_eq!(scope.shared::<Left>().await.unwrap().handle.0, 77);
    }
}
