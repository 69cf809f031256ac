create table {schema}.seen (
    told bigint primary key,
    owner bigint not null,
    labels text[] not null
)
