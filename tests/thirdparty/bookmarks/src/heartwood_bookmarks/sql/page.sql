select id, url, title, labels
from bookmarks.link
where owner = $1 and ($2::bigint is null or id < $2)
order by id desc
limit $3
