-- How many shards' cursors are set back since the generation began, in the order of their numbers. A relay that dies in the middle leaves the
-- rest to whoever comes next, and nobody stores a cursor before all are.
alter table relay_state add column rewound smallint not null default 64 check (rewound between 0 and 64);
