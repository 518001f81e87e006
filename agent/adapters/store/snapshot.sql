CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE meta (
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (name)
) WITHOUT ROWID, STRICT;
CREATE TABLE flow (
    flow_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    epoch TEXT NOT NULL,
    previous_epoch TEXT DEFAULT '' NOT NULL,
    announced INTEGER DEFAULT 0 NOT NULL,
    incarnation TEXT DEFAULT '' NOT NULL,
    position TEXT DEFAULT '' NOT NULL,
    next_sequence INTEGER DEFAULT 1 NOT NULL,
    next_ordinal INTEGER DEFAULT 1 NOT NULL,
    paused TEXT DEFAULT '' NOT NULL,
    loaded INTEGER DEFAULT 0 NOT NULL,
    rewrap INTEGER DEFAULT 0 NOT NULL,
    open_items INTEGER DEFAULT 0 NOT NULL,
    begun_after INTEGER DEFAULT 0 NOT NULL,
    chunk_base INTEGER DEFAULT 0 NOT NULL,
    PRIMARY KEY (flow_id),
    UNIQUE (name)
) STRICT;
CREATE TABLE memory (
    flow_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (flow_id, name),
    FOREIGN KEY(flow_id) REFERENCES flow (flow_id)
) WITHOUT ROWID, STRICT;
CREATE TABLE ledger (
    flow_id INTEGER NOT NULL,
    "key" TEXT NOT NULL,
    hash BLOB NOT NULL,
    ordinal INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    entry_id INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    chunk INTEGER,
    PRIMARY KEY (flow_id, "key")
) WITHOUT ROWID, STRICT;
CREATE INDEX ledger_chunk ON ledger (flow_id, chunk) WHERE chunk IS NOT NULL;
CREATE TABLE message (
    entry_id INTEGER NOT NULL,
    flow_id INTEGER NOT NULL,
    epoch TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    type TEXT NOT NULL,
    encoding TEXT NOT NULL,
    digest_alg TEXT NOT NULL,
    digest BLOB NOT NULL,
    kid TEXT NOT NULL,
    records INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    state TEXT NOT NULL,
    code TEXT DEFAULT '' NOT NULL,
    closed_as TEXT DEFAULT '' NOT NULL,
    superseded_by TEXT DEFAULT '' NOT NULL,
    attempts INTEGER DEFAULT 0 NOT NULL,
    created_at INTEGER NOT NULL,
    confirmed_at INTEGER,
    settled_at INTEGER,
    purged_at INTEGER,
    PRIMARY KEY (entry_id),
    FOREIGN KEY(flow_id) REFERENCES flow (flow_id),
    UNIQUE (message_id)
) STRICT;
CREATE UNIQUE INDEX message_sequence ON message (flow_id, epoch, sequence) WHERE sequence > 0;
CREATE INDEX message_pending ON message (flow_id, entry_id) WHERE state = 'pending';
CREATE INDEX message_confirmed ON message (flow_id, confirmed_at, entry_id) WHERE state = 'confirmed';
CREATE INDEX message_purgeable ON message (settled_at) WHERE state IN ('stored', 'partly_stored') AND purged_at IS NULL;
CREATE INDEX message_dead ON message (flow_id, code, settled_at) WHERE state = 'dead' AND closed_as = '';
CREATE INDEX message_ended ON message (state, entry_id) WHERE state = 'dead' OR state = 'partly_stored';
CREATE INDEX message_created ON message (created_at);
CREATE TABLE content (
    entry_id INTEGER NOT NULL,
    body BLOB NOT NULL,
    jws TEXT NOT NULL,
    PRIMARY KEY (entry_id),
    FOREIGN KEY(entry_id) REFERENCES message (entry_id)
) STRICT;
CREATE TABLE receipt (
    entry_id INTEGER NOT NULL,
    stage TEXT NOT NULL,
    outcome TEXT NOT NULL,
    code TEXT NOT NULL,
    text TEXT NOT NULL,
    hub TEXT NOT NULL,
    kid TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    committed_at INTEGER NOT NULL,
    settled_at INTEGER NOT NULL,
    audit_sequence INTEGER NOT NULL,
    audit_hash TEXT NOT NULL,
    body BLOB NOT NULL,
    jws TEXT NOT NULL,
    PRIMARY KEY (entry_id, stage),
    FOREIGN KEY(entry_id) REFERENCES message (entry_id)
) STRICT;
CREATE TABLE refused (
    refused_id INTEGER NOT NULL,
    entry_id INTEGER NOT NULL,
    flow_id INTEGER NOT NULL,
    record TEXT NOT NULL,
    field TEXT NOT NULL,
    code TEXT NOT NULL,
    message TEXT NOT NULL,
    refused_at INTEGER NOT NULL,
    closed_as TEXT DEFAULT '' NOT NULL,
    closed_at INTEGER,
    PRIMARY KEY (refused_id),
    FOREIGN KEY(entry_id) REFERENCES message (entry_id),
    FOREIGN KEY(flow_id) REFERENCES flow (flow_id)
) STRICT;
CREATE INDEX ix_refused_entry_id ON refused (entry_id);
CREATE INDEX ix_refused_record ON refused (record);
CREATE INDEX refused_open ON refused (flow_id, code, field, refused_at) WHERE closed_as = '';
CREATE TABLE quarantine (
    number INTEGER NOT NULL,
    item_id TEXT NOT NULL,
    flow_id INTEGER NOT NULL,
    entity TEXT NOT NULL,
    token TEXT NOT NULL,
    "key" TEXT,
    raw BLOB NOT NULL,
    reason TEXT NOT NULL,
    code TEXT NOT NULL,
    field TEXT NOT NULL,
    text TEXT NOT NULL,
    details TEXT NOT NULL,
    observed_at INTEGER NOT NULL,
    closed_as TEXT DEFAULT '' NOT NULL,
    closed_at INTEGER,
    PRIMARY KEY (number),
    UNIQUE (item_id),
    FOREIGN KEY(flow_id) REFERENCES flow (flow_id)
) STRICT;
CREATE INDEX quarantine_open ON quarantine (flow_id, reason, field, observed_at) WHERE closed_as = '';
CREATE TABLE gap (
    flow_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    details TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    closed_at INTEGER,
    PRIMARY KEY (flow_id, number),
    FOREIGN KEY(flow_id) REFERENCES flow (flow_id)
) STRICT;
CREATE TABLE tally (
    flow_id INTEGER NOT NULL,
    state TEXT NOT NULL,
    messages INTEGER NOT NULL,
    records INTEGER NOT NULL,
    PRIMARY KEY (flow_id, state)
) WITHOUT ROWID, STRICT;
CREATE TABLE activity (
    flow_id INTEGER NOT NULL,
    hour INTEGER NOT NULL,
    captured INTEGER DEFAULT 0 NOT NULL,
    unchanged INTEGER DEFAULT 0 NOT NULL,
    messages INTEGER DEFAULT 0 NOT NULL,
    records INTEGER DEFAULT 0 NOT NULL,
    stored INTEGER DEFAULT 0 NOT NULL,
    refused INTEGER DEFAULT 0 NOT NULL,
    quarantined INTEGER DEFAULT 0 NOT NULL,
    PRIMARY KEY (flow_id, hour)
) WITHOUT ROWID, STRICT;
CREATE TABLE action (
    action_id INTEGER NOT NULL,
    at INTEGER NOT NULL,
    user TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    why TEXT NOT NULL,
    PRIMARY KEY (action_id)
) STRICT;
CREATE TRIGGER message_added AFTER INSERT ON message BEGIN INSERT INTO tally (flow_id, state, messages, records) VALUES (new.flow_id, new.state, 1, new.records) ON CONFLICT (flow_id, state) DO UPDATE SET messages = messages + 1, records = records + excluded.records; END;
CREATE TRIGGER message_moved AFTER UPDATE OF state ON message WHEN old.state <> new.state BEGIN UPDATE tally SET messages = messages - 1, records = records - old.records WHERE flow_id = old.flow_id AND state = old.state; INSERT INTO tally (flow_id, state, messages, records) VALUES (new.flow_id, new.state, 1, new.records) ON CONFLICT (flow_id, state) DO UPDATE SET messages = messages + 1, records = records + excluded.records; END;
CREATE TRIGGER message_forgotten AFTER DELETE ON message BEGIN UPDATE tally SET messages = messages - 1, records = records - old.records WHERE flow_id = old.flow_id AND state = old.state; END;
CREATE TRIGGER item_added AFTER INSERT ON quarantine WHEN new.closed_as = '' BEGIN UPDATE flow SET open_items = open_items + 1 WHERE flow_id = new.flow_id; END;
CREATE TRIGGER item_closed AFTER UPDATE OF closed_as ON quarantine WHEN old.closed_as = '' AND new.closed_as <> '' BEGIN UPDATE flow SET open_items = open_items - 1 WHERE flow_id = new.flow_id; END;
INSERT INTO alembic_version (version_num) VALUES ('0001');
INSERT INTO meta (name, value) VALUES ('schema_floor', '1');
