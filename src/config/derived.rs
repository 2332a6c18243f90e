//! What follows from the broker's keys: paths, lists and limits in the form the rooms need, and the rules
//! between keys. Mirrors `StorePathConfigHelper`, the getters of `MessageStoreConfig` that calculate, and the
//! checks of `BrokerStartup.buildBrokerController`. Single values are checked in [`super::keys`].

use std::path::{Path, PathBuf};

use super::SettingsError;
use super::keys::broker::{delay_levels_ms, name_servers};
use super::keys::{BrokerKeys, BrokerRole, NamesrvKeys, Origin};

impl BrokerKeys {
    /// Returns the root directory of the store.
    pub fn store_root(&self) -> &Path {
        Path::new(&self.store_path_root_dir)
    }

    /// Returns the directory of the commit log.
    pub fn commit_log_dir(&self) -> PathBuf {
        self.place(self.store_path_commit_log.as_ref(), "commitlog")
    }

    /// Returns the directory of the consume queues.
    pub fn consume_queue_dir(&self) -> PathBuf {
        self.place(self.store_path_consume_queue.as_ref(), "consumequeue")
    }

    /// Returns the directory of the index files.
    pub fn index_dir(&self) -> PathBuf {
        self.place(self.store_path_index.as_ref(), "index")
    }

    /// Returns the checkpoint file.
    pub fn checkpoint_file(&self) -> PathBuf {
        self.place(self.store_checkpoint.as_ref(), "checkpoint")
    }

    /// Returns the file that exists while the broker runs.
    pub fn abort_file_path(&self) -> PathBuf {
        self.place(self.abort_file.as_ref(), "abort")
    }

    /// Returns the directory of topics.json and its neighbours.
    pub fn config_dir(&self) -> PathBuf {
        self.store_root().join("config")
    }

    fn place(&self, own: Option<&String>, usual: &str) -> PathBuf {
        own.map_or_else(|| self.store_root().join(usual), PathBuf::from)
    }

    /// Returns the bytes of one consume-queue file: a whole number of 20-byte entries.
    pub fn consume_queue_file_bytes(&self) -> u64 {
        const ENTRY_BYTES: u64 = 20;
        (self.mapped_file_size_consume_queue.max(0) as u64).div_ceil(ENTRY_BYTES) * ENTRY_BYTES
    }

    /// Returns the NameServers to register with, as `host:port`; empty when there are none.
    pub fn namesrv_addrs(&self) -> Vec<String> {
        let list = self.namesrv_addr.as_deref().filter(|list| !list.is_empty());
        list.and_then(name_servers).unwrap_or_default()
    }

    /// Returns the delay levels in milliseconds; level 1 comes first.
    pub fn delay_levels_ms(&self) -> Vec<u64> {
        delay_levels_ms(&self.message_delay_level).unwrap_or_default()
    }

    /// Returns the hours of the day, 0 to 23, at which expired files are deleted.
    pub fn delete_hours(&self) -> Vec<u8> {
        self.delete_when.split(';').filter_map(|hour| hour.trim().parse().ok()).collect()
    }

    /// Returns `diskMaxUsedSpaceRatio` within Apache's bounds of 10 to 95 per cent.
    pub fn disk_max_used_ratio(&self) -> u32 {
        self.disk_max_used_space_ratio.clamp(10, 95) as u32
    }

    /// Returns `registerNameServerPeriod` within Apache's bounds of 10 to 60 seconds, in milliseconds.
    pub fn registration_period_ms(&self) -> u64 {
        self.register_name_server_period.clamp(10_000, 60_000) as u64
    }

    /// Returns how many slaves must have a message before its send succeeds.
    ///
    /// SYNC_MASTER means that success is told when two have it, unless `inSyncReplicas` is set: Apache 5 waits for
    /// nobody then, as its default there is 1.
    pub fn slaves_wanted(&self) -> usize {
        if self.broker_role != BrokerRole::SyncMaster {
            return 0;
        }
        let copies = if self.is_explicit("inSyncReplicas") { self.in_sync_replicas } else { 2 };
        usize::try_from(copies - 1).unwrap_or_default()
    }

    /// Says whether UPDATE_BROKER_CONFIG refuses this key (answer NO_PERMISSION, "Can not update config in
    /// black list.").
    pub fn is_black_listed(&self, key: &str) -> bool {
        const ALWAYS: [&str; 3] = ["brokerConfigPath", "rocketmqHome", "configBlackList"];
        ALWAYS.contains(&key) || is_listed(&self.config_black_list, key)
    }

    /// Applies the rules between keys; to be called after the last value was set at a start.
    ///
    /// Fails for a slave without an id, and for a member of a Raft group. Returns lines for a person.
    pub fn settle(&mut self) -> Result<Vec<String>, SettingsError> {
        let mut notes = Vec::new();
        let origin = |keys: &Self, key: &str| keys.origin(key).unwrap_or(&Origin::Program).to_string();
        if self.get("enableDLegerCommitLog").as_deref() == Some("true") {
            // Started as plain masters, the members of a group would all be brokerId 0 of one name, and each take messages.
            return Err(SettingsError::Raft { origin: origin(self, "enableDLegerCommitLog") });
        }
        match self.broker_role {
            BrokerRole::Slave if self.broker_id <= 0 => {
                let origin =
                    origin(self, if self.is_explicit("brokerId") { "brokerId" } else { "brokerRole" });
                return Err(SettingsError::SlaveId { origin, id: self.broker_id });
            }
            BrokerRole::Slave => {}
            BrokerRole::AsyncMaster | BrokerRole::SyncMaster => {
                if self.broker_id != 0 {
                    let (id, origin) = (self.broker_id, origin(self, "brokerId"));
                    notes.push(format!(
                        "{origin}: brokerId={id} is taken as 0, because a master's id is always 0"
                    ));
                }
                self.broker_id = 0;
            }
        }
        if self.ha_listen_port <= 0 && self.listen_port > 0 {
            self.ha_listen_port = self.listen_port + 1;
        }
        Ok(notes)
    }
}

impl NamesrvKeys {
    /// Says whether UPDATE_NAMESRV_CONFIG refuses this key (answer NO_PERMISSION, "Can not update config in
    /// black list.").
    pub fn is_black_listed(&self, key: &str) -> bool {
        const ALWAYS: [&str; 4] = ["configBlackList", "configStorePath", "kvConfigPath", "rocketmqHome"];
        ALWAYS.contains(&key) || is_listed(&self.config_black_list, key)
    }
}

fn is_listed(list: &str, key: &str) -> bool {
    list.split(';').any(|listed| listed.trim() == key)
}
