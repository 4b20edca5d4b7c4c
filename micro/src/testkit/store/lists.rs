//! Claims on lists: order, pages, prefixes and suffixes.

use super::{Claim, Subject, Verdict, declare, ensure, key, keys, must, space};
use crate::core::future::BoxFuture;
use crate::store::Query;

declare! {
    async fn keys_are_listed_in_the_order_of_their_bytes(subject) {
        for name in ["b", "a10", "a9", "B", "\u{e9}", "a", "a-b", "a/b", "ab", "Z", "z", "~"] {
            subject.put(name, "x").await?;
        }
        let sorted = ["B", "Z", "a", "a-b", "a/b", "a10", "a9", "ab", "b", "z", "~", "\u{e9}"];
        subject.lists(&Query::new(), &sorted).await
    }

    async fn pages_cover_everything_once(subject) {
        let names: Vec<String> = (0..25).map(|n| format!("{n:02}")).collect();
        for name in &names {
            subject.put(name, name).await?;
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for limit in [1, 7, 24, 25, 26, 0] {
            subject.lists(&Query::new().with_limit(limit), &names).await?;
        }
        Ok(())
    }

    async fn a_limit_is_kept_after_the_filters(subject) {
        for name in ["a1x", "b1", "b2x", "b3", "b4x", "b5x", "c1x"] {
            subject.put(name, "x").await?;
        }
        let query = Query::new().with_prefix("b").with_suffix("x");
        for limit in [1, 2, 3, 100] {
            subject.lists(&query.clone().with_limit(limit), &["b2x", "b4x", "b5x"]).await?;
        }
        Ok(())
    }

    async fn prefixes_and_suffixes_are_literal(subject) {
        let names =
            ["a%b", "a*b", "a?b", "a[b]", "a\\b", "a_b", "axb", "a.b", "a'b", "^a$", "A%B", "%", "_"];
        for name in names {
            subject.put(name, "x").await?;
        }
        for part in ["a%", "a*", "a?", "a[", "a\\", "a_", "a.", "a'", "^", "%", "_", "A%"] {
            let mut wanted: Vec<&str> = names.into_iter().filter(|n| n.starts_with(part)).collect();
            wanted.sort_unstable();
            subject.lists(&Query::new().with_prefix(part), &wanted).await?;
        }
        for part in ["%b", "*b", "]", "\\b", "_b", "$", "%B", "%", "_"] {
            let mut wanted: Vec<&str> = names.into_iter().filter(|n| n.ends_with(part)).collect();
            wanted.sort_unstable();
            subject.lists(&Query::new().with_suffix(part), &wanted).await?;
        }
        subject.lists(&Query::new().with_prefix("nothing"), &[]).await
    }

    async fn a_list_begins_after_a_key_that_need_not_exist(subject) {
        for name in ["a", "b", "p1", "p2", "p3", "q"] {
            subject.put(name, "x").await?;
        }
        let all = Query::new();
        subject.lists(&all.clone().with_after("b"), &["p1", "p2", "p3", "q"]).await?;
        subject.lists(&all.clone().with_after("bb"), &["p1", "p2", "p3", "q"]).await?;
        subject.lists(&all.clone().with_after("q"), &[]).await?;
        let prefixed = all.with_prefix("p");
        subject.lists(&prefixed.clone().with_after("a"), &["p1", "p2", "p3"]).await?;
        subject.lists(&prefixed.clone().with_after("p1"), &["p2", "p3"]).await?;
        subject.lists(&prefixed.with_after("q"), &[]).await
    }

    async fn a_list_holds_the_records_that_a_read_returns(subject) {
        for name in ["a", "b"] {
            subject.put(name, &format!("value of {name}")).await?;
        }
        subject.lists(&Query::new(), &["a", "b"]).await?;
        for record in subject.all(&Query::new()).await? {
            let read = must("read", subject.two.read(&space(), &key(&record.key)?).await)?;
            ensure(read.as_ref() == Some(&record), || format!("{record:?} reads as {read:?}"))?;
        }
        Ok(())
    }

    async fn a_list_of_keys_has_versions_and_no_values(subject) {
        let version = subject.put("a", "long enough").await?;
        subject.lists(&Query::new().keys_only(), &["a"]).await?;
        let records = subject.all(&Query::new().keys_only()).await?;
        let bare = records.iter().all(|r| r.value.is_empty() && r.version == version);
        ensure(bare, || format!("keys only are {records:?}"))
    }

    /// What stays is listed once, though its neighbours come and go between the pages.
    async fn what_stays_is_listed_once_whatever_is_written_meanwhile(subject) {
        for n in 0..10 {
            subject.put(&format!("k{n}"), "x").await?;
        }
        let mut query = Query::new().with_limit(2);
        let mut seen: Vec<String> = Vec::new();
        for round in 0..20 {
            let page = must("list", subject.one.list(&space(), &query).await)?;
            seen.extend(keys(&page.records).into_iter().map(str::to_owned));
            let Some(next) = page.next else { break };
            query.after = Some(next);
            subject.put(&format!("a{round}"), "x").await?;
            let gone = key(&format!("k{round}"))?;
            if round % 2 == 0 {
                must("delete", subject.one.delete(&space(), &gone, None).await)?;
            }
        }
        let odd: Vec<_> = seen.iter().filter(|k| k.ends_with(['1', '3', '5', '7', '9'])).collect();
        ensure(odd == ["k1", "k3", "k5", "k7", "k9"], || format!("listed {seen:?}"))
    }
}
