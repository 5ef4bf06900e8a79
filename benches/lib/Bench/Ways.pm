package Bench::Ways;

# The ways to watch an upstream that are measured side by side, each as lines added to the same nginx.conf, and the
# servers that they watch: an nginx of its own whose blue fails 1.5 % of the requests below /incident.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Path qw(remove_tree);
use Poolwatch;

my $root = abs_path(dirname(__FILE__) . '/../../..');
my $modules = '/usr/lib/nginx/modules';

my $fields = q{log_format watched 'pool=$upstream_http_x_app_pool release=$upstream_http_x_release_id status=$status '}
    . q{ 'upstream_status=$upstream_status upstream_addr=$upstream_addr time=$upstream_response_time';};

my $lua = <<'LUA';
    lua_shared_dict pools 1m;
    log_by_lua_block {
        local pools, var = ngx.shared.pools, ngx.var
        local pool, release = var.upstream_http_x_app_pool or "-", var.upstream_http_x_release_id or "-"
        local failed = string.byte(var.upstream_status or "", 1) == 53 -- "5"
        pools:incr("requests:" .. pool .. ":" .. release, 1, 0)
        if failed then pools:incr("errors", 1, 0) end
        if pools:get("last") ~= pool then pools:set("last", pool) end
    }
LUA

# name: as in the table. load, http, upstream: lines of nginx.conf. path: the path that is requested. against: the way
# with which it is compared. hangs: the receiver never answers. poll: a watcher tails the log and reads it this often.
my @ways = (
    { name => 'bare nginx, `access_log off`', key => 'bare' },
    { name => 'an empty log handler in C', key => 'empty', load => "load_module $root/target/bench/empty.so;" },
    { name => '**Poolwatch**', key => 'poolwatch', module => 1, upstream => 'poolwatch on;' },
    {   name => '**Poolwatch**, pools by `poolwatch_pool`', key => 'pools', module => 1,
        upstream => 'poolwatch on; poolwatch_pool blue 127.0.0.1:%%BLUE%%; poolwatch_pool green 127.0.0.1:%%GREEN%%;' },
    { name => 'bare nginx, 1.5 % of requests retried', key => 'bare incident', path => '/incident' },
    {   name => '**Poolwatch**, 1.5 % retried, alert firing, receiver hangs', key => 'incident', module => 1, hangs => 1,
        path => '/incident', against => 'bare incident', upstream => 'poolwatch on; poolwatch_error_rate 0% window=200;' },
    { name => 'access_log, buffered, 6 fields', key => 'buffered', http => "$fields access_log logs/access.log watched buffer=64k flush=1s;" },
    { name => 'access_log, 6 fields', key => 'log', http => "$fields access_log logs/access.log watched;" },
    {   name => 'access_log + watcher, polls each 0.1 s', key => 'watcher', poll => 0.1,
        http => "$fields access_log logs/access.log watched;" },
    {   name => 'lua: log_by_lua, shared dict', key => 'lua', http => $lua,
        load => "load_module $modules/ndk_http_module.so; load_module $modules/ngx_http_lua_module.so;" },
);

sub all    { return @ways }
sub by_key { my ($key) = @_; my ($way) = grep { $_->{key} eq $key } @ways; return $way // die "no way $key\n" }

# The empty handler, built against the same headers as the module.
sub build_empty {
    my $tree = $ENV{NGINX_SOURCE_DIR} // "$root/target/nginx";
    my $objs = $ENV{NGINX_BUILD_DIR} // "$tree/objs";
    my @include = map { "-I$_" } $objs, map { "$tree/src/$_" } qw(core event event/modules os/unix http http/modules http/v2);
    mkdir "$root/target/bench";
    my @cc = (qw(cc -O2 -shared -fPIC), @include, '-o', "$root/target/bench/empty.so");
    system(@cc, "$root/benches/empty/ngx_http_empty_log_module.c") == 0 or die "cc failed\n";
}

# Blue and green as one nginx, which ends with the result.
sub backends {
    my $host = Poolwatch->new(workers => 1);
    $host->{ports}{GREEN} = Poolwatch::free_port();
    my $server = sub {
        my ($pool, $port, $fails) = @_;
        return "server { listen 127.0.0.1:$port; add_header X-App-Pool $pool always; add_header X-Release-Id v1.2.3 always; "
            . "location / { return 200 ok; } location /incident { $fails return 200 ok; } }\n";
    };
    $host->write_file('nginx.conf', $host->fill(<<"CONF"));
worker_processes 1;
error_log logs/error.log crit;
pid nginx.pid;
events { worker_connections 4096; }
http {
    access_log off;
    keepalive_requests 100000000;
    split_clients \$request_id \$broken { 1.5% 1; * ""; }
    @{[$server->('blue', '%%PORT%%', 'if ($broken) { return 500; }')]}
    @{[$server->('green', '%%GREEN%%', '')]}
}
CONF
    return $host->start;
}

# An nginx that watches in this way, not yet started; without backends its servers are the demo's applications. more:
# workers, single (one process, for callgrind), fails (parameters of the primary server), no_zone, upstream and server
# (lines).
sub host {
    my ($way, $backends, %more) = @_;
    my $host = Poolwatch->new(workers => $more{workers} // 1);
    if ($backends) { @{ $host->{ports} }{qw(BLUE GREEN)} = @{ $backends->{ports} }{qw(PORT GREEN)} }
    else           { $host->app($_) for qw(blue green) }
    my ($load, $receiver) = ($way->{load} // '', '');
    if ($way->{module}) {
        $load = 'load_module ' . Poolwatch::module() . ';';
        $receiver = $host->receiver;
    }
    if ($way->{module} || $way->{poll}) {
        if ($more{single}) { $host->{ports}{SLACK} = 1 }
        else               { $host->slack }
        $host->slack_mode(mode => 'hang') if $way->{hangs};
    }
    my $process = $more{single} ? 'daemon off; master_process off;' : "worker_processes $host->{workers};";
    my $access_log = ($way->{http} // '') =~ /access_log/ ? '' : 'access_log off;';
    my $upstream = join ' ', map { $_ // () } $way->{upstream}, $more{upstream};
    my $fails = $more{fails} // 'max_fails=0';
    # The longest fail_timeout of a block counts.
    my ($timeout) = $fails =~ /(fail_timeout=\S+)/;
    my $backup = join ' ', 'backup', $timeout // ();
    my $zone = $more{no_zone} ? '' : 'zone app 64k;';
    $host->write_file('nginx.conf', $host->fill(<<"CONF"));
$load
$process
error_log logs/error.log warn;
pid nginx.pid;
events { worker_connections 1024; }
http {
    $access_log
    keepalive_requests 100000000;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_next_upstream error timeout http_500;
    $receiver
@{[$way->{http} // '']}
    upstream app {
        $zone
        server 127.0.0.1:%%BLUE%% $fails;
        server 127.0.0.1:%%GREEN%% $backup;
        keepalive 64;
        $upstream
    }
    server { listen 127.0.0.1:%%PORT%%; location / { proxy_pass http://app; } @{[$more{server} // '']} }
}
CONF
    return $host;
}

# Starts nginx, and the watcher of this way.
sub start {
    my ($way, $host) = @_;
    $host->start;
    if ($way->{poll}) {
        my $webhook = "http://127.0.0.1:$host->{ports}{SLACK}/services/T/B/x";
        my @watcher = ('python3', "$root/benches/watcher.py", "$host->{prefix}/logs/access.log", $webhook, $way->{poll});
        $host->{watcher} = $host->spawn('watcher', {}, undef, @watcher);
    }
    return $host;
}

# Ends both, and removes what they leave.
sub end {
    my ($host) = @_;
    kill 'KILL', $host->{watcher} if $host->{watcher};
    $host->end_processes;
    remove_tree($host->{prefix});
}

1;
