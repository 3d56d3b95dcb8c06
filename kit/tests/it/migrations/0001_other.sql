create table public.only_once (a int);
