package Poolwatch;

# A real nginx with a master and workers, the demo applications and the mock Slack, for tests of whole processes:
# reloads, kills, many workers. Tests of single requests use Test::Nginx::Socket.
#
#   my $host = Poolwatch->with_pools(workers => 4);   # blue, green and a mock Slack
#   $host->watch('poolwatch_cooldown 0;');            # the usual configuration with this in it, and nginx
#   $host->get('/');  $host->messages(1);  $host->reload;
#   $host->finish;
#
#   my $host = Poolwatch->new;                        # or piece by piece
#   $host->app('blue');
#   $host->write_config($upstream, $http, $server);   # %%BLUE%%, %%GREEN%%, %%SLACK%% and %%PORT%% are ports
#   $host->start;
#
# No test sleeps and hopes: wait_until tests a condition again and again, and fails with the condition's name. finish
# ends every process by its pid; then error.log may hold no alert, emergency or panic except those that the test
# allowed.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Path qw(make_path remove_tree);
use File::Temp qw(tempdir);
use HTTP::Tiny;
use IO::Socket::INET;
use JSON::PP qw(decode_json encode_json);
use POSIX qw(WNOHANG);
use Scalar::Util ();
use Test::More ();
use Time::HiRes qw(sleep time);

my @hosts;
my $root = abs_path(dirname(__FILE__) . '/../..');

sub module { $ENV{POOLWATCH_MODULE} // "$root/target/ngx_http_poolwatch_module.so" }
sub nginx  { $ENV{TEST_NGINX_BINARY} // '/usr/sbin/nginx' }
sub demo   { "$root/target/demo/release/$_[0]" }

# nginx's version as it tells it, and a version as a number that can be compared.
sub version {
    my ($version) = qx(${\ nginx()} -v 2>&1) =~ m{nginx/([0-9.]+)} or Test::More::BAIL_OUT(nginx() . ' does not tell its version');
    return $version;
}

sub number { my @parts = split /\./, $_[0]; return $parts[0] * 1_000_000 + ($parts[1] // 0) * 1000 + ($parts[2] // 0) }

# Skips the test file or subtest with an nginx older than this one, which lacks what is tested.
sub skip_below {
    my ($needed, $feature) = @_;
    my $version = version();
    return if number($version) >= number($needed);
    Test::More::diag("SKIPPED: $feature, which nginx has since $needed, and this is $version");
    Test::More::plan(skip_all => "nginx $version is older than $needed: $feature");
}

sub new {
    my ($class, %options) = @_;
    make_path("$root/target/t");
    my $self = bless {
        workers => 2, allowed => [], env => {}, pids => {}, ports => {}, owner => $$,
        prefix => tempdir('host-XXXXXX', DIR => "$root/target/t"), %options,
    }, $class;
    # Workers run as the user nobody.
    chmod 0755, $self->{prefix};
    push @hosts, $self;
    Scalar::Util::weaken($hosts[-1]);
    mkdir "$self->{prefix}/logs";
    $self->{ports}{PORT} = free_port();
    return $self;
}

# With the demo applications of both pools and a mock Slack.
sub with_pools {
    my ($class, %options) = @_;
    my $self = $class->new(%options);
    $self->app($_) for qw(blue green);
    $self->slack;
    return $self;
}

# -- configuration

sub write_config {
    my ($self, $upstream, $http, $server) = @_;
    my $module = module();
    $_ //= '' for $upstream, $http;
    $server //= 'location / { proxy_pass http://app; }';
    $self->write_file('nginx.conf', $self->fill(<<"CONF"));
load_module $module;
worker_processes $self->{workers};
error_log logs/error.log info;
pid nginx.pid;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path client_temp;
    proxy_temp_path proxy_temp;
    fastcgi_temp_path fastcgi_temp;
    uwsgi_temp_path uwsgi_temp;
    scgi_temp_path scgi_temp;
    proxy_next_upstream error timeout http_500 http_502 http_503 http_504 non_idempotent;
    proxy_connect_timeout 1s;
    proxy_read_timeout 2s;
$http
$upstream
    server {
        listen 127.0.0.1:%%PORT%%;
        $server
    }
}
CONF
}

# The usual upstream: blue, with green as its backup, in a zone.
sub blue_green {
    my ($self, $more) = @_;
    $more //= '';
    return <<"CONF";
    upstream app {
        zone app 64k;
        server 127.0.0.1:%%BLUE%% max_fails=1 fail_timeout=1s;
        server 127.0.0.1:%%GREEN%% backup;
        poolwatch on;
        $more
    }
CONF
}

# That upstream with these directives, told to Slack; more directives of http, and what the server holds.
sub configure {
    my ($self, $rules, $http, $server) = @_;
    $self->write_config($self->blue_green($rules), join("\n", $self->receiver, $http // ()), $server);
}

# The same, and nginx is started.
sub watch {
    my ($self, @configuration) = @_;
    $self->configure(@configuration);
    return $self->start;
}

sub receiver { '    poolwatch_receiver slack http://127.0.0.1:%%SLACK%%/services/T/B/x;' }

sub fill {
    my ($self, $text) = @_;
    $text =~ s/%%([A-Z0-9_]+)%%/$self->{ports}{$1} || Test::More::BAIL_OUT("no port $1")/ge;
    return $text;
}

sub write_file {
    my ($self, $name, $text) = @_;
    open my $file, '>', "$self->{prefix}/$name" or die "$name: $!";
    print $file $text;
    close $file;
}

# Where workers of the module with crash points look for files named after them.
sub crash_points {
    my ($self) = @_;
    mkdir "$self->{prefix}/crash";
    chmod 0777, "$self->{prefix}/crash";
}

sub command {
    my ($self, @more) = @_;
    return (nginx(), '-p', "$self->{prefix}/", '-c', 'nginx.conf', '-e', 'logs/error.log', @more);
}

# nginx -t: its exit status and its output.
sub test_config {
    my ($self) = @_;
    my $pid = open my $out, '-|' // die $!;
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        %ENV = (%ENV, %{ $self->{env} });
        exec $self->command('-t', '-q') or die;
    }
    my $text = do { local $/; <$out> } // '';
    close $out;
    return ($? >> 8, $text);
}

# -- processes

sub start {
    my ($self) = @_;
    # nginx can change its binary only as a daemon, which is not a child of this process; otherwise it is a child.
    my $daemon = $self->{daemon} ? 'on' : 'off';
    my @command = (@{ $self->{under} // [] }, $self->command('-g', "daemon $daemon; " . ($self->{globals} // '')));
    $self->{master} = $self->spawn('nginx', $self->{env}, undef, @command);
    if ($self->{daemon}) {
        waitpid $self->{master}, 0;
        delete $self->{pids}{ $self->{master} };
        $self->{master} = wait_until(sub { $self->pid_file }, 'the daemon', 15);
        $self->{pids}{ $self->{master} } = 'nginx';
    }
    wait_until(sub { $self->is_listening }, 'nginx to listen', 15);
    wait_until(sub { $self->workers == $self->{workers} }, 'all workers', 15);
    return $self;
}

sub app {
    my ($self, $pool, %env) = @_;
    $env{PORT} //= $self->{ports}{ uc $pool } // 0;
    my %all = (APP_POOL => $pool, RELEASE_ID => "$pool-1", HOST => '127.0.0.1', %env);
    return $self->{ports}{ uc $pool } = $self->spawn_server($pool, \%all, demo('app'));
}

sub slack {
    my ($self, $name) = @_;
    $name //= 'slack';
    my %env = (HOST => '127.0.0.1', PORT => $self->{ports}{ uc $name } // 0);
    return $self->{ports}{ uc $name } = $self->spawn_server($name, \%env, demo('mock-slack'));
}

sub spawn_server {
    my ($self, $name, $env, @command) = @_;
    pipe my $read, my $write or die $!;
    $self->{named}{$name} = $self->spawn($name, $env, $write, @command);
    close $write;
    my $line = <$read> // '';
    my ($port) = $line =~ /listening on .*:(\d+)$/ or Test::More::BAIL_OUT("$name did not start: $line");
    return $port;
}

sub spawn {
    my ($self, $name, $env, $stdout, @command) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        %ENV = (%ENV, %$env);
        open STDIN, '<', '/dev/null';
        if ($stdout) { open STDOUT, '>&', $stdout }
        else         { open STDOUT, '>>', "$self->{prefix}/logs/$name.out" }
        open STDERR, '>>', "$self->{prefix}/logs/$name.err";
        exec @command or POSIX::_exit(127);
    }
    $self->{pids}{$pid} = $name;
    return $pid;
}

# A server that the test defines, in a process of its own.
sub fork_server {
    my ($self, $name, $serve) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        local $SIG{PIPE} = 'IGNORE';
        $serve->();
        POSIX::_exit(0);
    }
    $self->{named}{$name} = $pid;
    $self->{pids}{$pid} = $name;
}

# A server that does this with each connection, one after the other, and keeps the sockets open that are returned.
sub raw_server {
    my ($self, $name, $port, $handle) = @_;
    my $listener = IO::Socket::INET->new(Listen => 64, LocalAddr => "127.0.0.1:$port", ReuseAddr => 1) or die "port $port: $!";
    $self->fork_server($name, sub {
        my @kept;
        while (my $socket = $listener->accept) {
            $self->note_try($name);
            my $left = $handle->($socket);
            push @kept, $left if $left;
        }
    });
}

# How often a client connected.
sub note_try     { my ($self, $name) = @_; open my $file, '>>', "$self->{prefix}/logs/$name.tries" or die $!; print $file '.' }
sub tries        { my ($self, $name) = @_; return -s "$self->{prefix}/logs/$name.tries" // 0 }
sub forget_tries { my ($self) = @_; unlink glob "$self->{prefix}/logs/*.tries" }

# Kills an application or the mock at once.
sub stop {
    my ($self, $name) = @_;
    my $pid = delete $self->{named}{$name} or die "no $name";
    kill 'KILL', $pid;
    waitpid $pid, 0;
    delete $self->{pids}{$pid};
}

sub children {
    my ($self) = @_;
    open my $children, '<', "/proc/$self->{master}/task/$self->{master}/children" or return;
    return split ' ', <$children> // '';
}

# Cache helpers and exiting workers serve no new requests.
sub workers         { my ($self) = @_; return grep { title($_) eq 'nginx: worker process' } $self->children }
sub exiting_workers { my ($self) = @_; return grep { title($_) =~ /shutting down/ } $self->children }

# Does the process have an open connection with this port at its local or remote end?
sub has_connection {
    my ($pid, $port, $end) = @_;
    my $place = $end eq 'local' ? 1 : 2;
    open my $table, '<', "/proc/$pid/net/tcp" or return 0;
    my $established = '01';
    my %inodes = map { ("socket:[$_->[9]]" => 1) }
        grep { $_->[3] eq $established && $_->[$place] =~ sprintf(':%04X$', $port) } map { [split] } <$table>;
    return scalar grep { $inodes{ readlink($_) // '' } } glob "/proc/$pid/fd/*";
}

sub title {
    my ($pid) = @_;
    open my $file, '<', "/proc/$pid/cmdline" or return '';
    my $title = do { local $/; <$file> } // '';
    $title =~ s/[\0\s]+$//;
    return $title;
}

# Reloads; returns when all workers are new and the old ones have exited.
sub reload {
    my ($self) = @_;
    my %old = map { $_ => 1 } $self->workers;
    kill 'HUP', $self->{master};
    my $is_over = sub {
        my @now = $self->workers;
        return @now == $self->{workers} && !(grep { $old{$_} } @now) && !$self->exiting_workers;
    };
    wait_until($is_over, 'the reload', 20);
}

# Ends nginx gracefully, or with another signal, and returns the seconds that it took.
sub quit {
    my ($self, $signal) = @_;
    my $begin = time;
    $self->end_master(delete $self->{master}, $signal // 'QUIT');
    return time - $begin;
}

# Ends one of several masters.
sub end_master {
    my ($self, $master, $signal) = @_;
    kill $signal, $master;
    # After an upgrade the master is not a child of this process.
    wait_until(sub { waitpid($master, WNOHANG); !is_running($master) }, 'nginx to end', 20);
    delete $self->{pids}{$master};
}

# Starts the binary again beside the running one, and returns the old master; from then on the new one is used.
sub upgrade {
    my ($self) = @_;
    my $old = $self->{master};
    kill 'USR2', $old;
    my $new = wait_until(sub { my $pid = $self->pid_file; $pid && $pid != $old && $pid }, 'the new master', 15);
    ($self->{master}, $self->{pids}{$new}) = ($new, 'nginx');
    wait_until(sub { $self->workers == $self->{workers} }, 'all new workers', 15);
    return $old;
}

sub pid_file {
    my ($self) = @_;
    open my $file, '<', "$self->{prefix}/nginx.pid" or return 0;
    return int(<$file> // 0);
}

sub is_running {
    my ($pid) = @_;
    open my $file, '<', "/proc/$pid/stat" or return 0;
    return (<$file> // '') !~ /\) Z /;
}

# -- requests

sub http {
    my ($self, $method, $port, $path, %options) = @_;
    my $client = HTTP::Tiny->new(timeout => $options{timeout} // 10, keep_alive => 0, max_redirect => 0);
    my %more = (headers => $options{headers} // {}, content => $options{content} // '');
    return $client->request($method, "http://127.0.0.1:$port$path", \%more);
}

sub get { my ($self, $path, %options) = @_; return $self->http('GET', $self->{ports}{PORT}, $path, %options) }

# Sends this many requests. Returns how many were answered with each status.
sub get_many {
    my ($self, $count, $path, $pause) = @_;
    my %statuses;
    for (1 .. $count) {
        $statuses{ $self->get($path // '/')->{status} }++;
        sleep $pause if $pause;
    }
    return \%statuses;
}

# Sends requests until a condition holds: traffic that goes on while something happens.
sub get_until {
    my ($self, $condition, $what, $seconds, $path, $pause) = @_;
    my %statuses;
    my $step = sub {
        $statuses{ $self->get($path // '/')->{status} }++;
        sleep $pause if $pause;
        return $condition->();
    };
    wait_until($step, $what, $seconds);
    return \%statuses;
}

sub chaos {
    my ($self, $pool, $mode) = @_;
    my $path = $mode ? "/chaos/start?mode=$mode" : '/chaos/stop';
    my $response = $self->http('POST', $self->{ports}{ uc $pool }, $path);
    $response->{status} == 200 or die "chaos: $response->{status}";
}

sub slack_mode {
    my ($self, %mode) = @_;
    my $response = $self->http('PUT', $self->{ports}{SLACK}, '/control', content => encode_json(\%mode));
    $response->{status} == 200 or die "control: $response->{content}";
}

# The messages that the mock accepted: waits for $count of them, at most $seconds.
sub messages {
    my ($self, $count, $seconds) = @_;
    return $self->captured(sprintf 'accepted=true&count=%d&wait_ms=%d', $count, 1000 * ($seconds // 20));
}

# All requests that the mock got, as far as they match the query.
sub captured {
    my ($self, $query) = @_;
    my $response = $self->http('GET', $self->{ports}{SLACK}, "/messages?$query", timeout => 70);
    return @{ decode_json($response->{content}) };
}

sub titles { my ($self, @rest) = @_; return map { $_->{body}{text} } $self->messages(@rest) }
sub forget { my ($self) = @_; $self->http('DELETE', $self->{ports}{SLACK}, '/messages') }

# A document of the API.
sub api { my ($self, $path) = @_; return decode_json($self->get("/poolwatch/api/v1/$path")->{content}) }

# A client for each of so many workers, by the worker's pid, which /worker has to tell: a connection stays with its worker.
sub worker_clients {
    my ($self, $count) = @_;
    my %clients;
    my $is_complete = sub {
        my $new = HTTP::Tiny->new(timeout => 10, keep_alive => 1);
        my $pid = $new->get("http://127.0.0.1:$self->{ports}{PORT}/worker")->{content};
        $clients{$pid} //= $new;
        return keys %clients == $count;
    };
    wait_until($is_complete, 'a connection with each worker', 30);
    return %clients;
}

# -- logs and conditions

sub error_log { my ($self) = @_; return $self->written('error.log') }

# The content of a file in logs/. A process that was spawned as NAME writes to NAME.out and NAME.err.
sub written {
    my ($self, $name) = @_;
    open my $file, '<', "$self->{prefix}/logs/$name" or return '';
    local $/;
    return <$file> // '';
}

# Lines that error.log may have although they look bad.
sub allow { my ($self, @patterns) = @_; push @{ $self->{allowed} }, @patterns }

sub wait_until {
    my ($condition, $what, $seconds) = @_;
    my $until = time + ($seconds // 10);
    while (1) {
        my $result = $condition->();
        return $result if $result;
        die "waited in vain for $what\n" if time > $until;
        sleep 0.01;
    }
}

sub is_listening {
    my ($self) = @_;
    waitpid $self->{master}, WNOHANG;
    is_running($self->{master}) or Test::More::BAIL_OUT('nginx ended: ' . $self->error_log);
    return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{ports}{PORT}, Timeout => 1);
}

# Below the ports that the kernel gives to clients: one of those could be taken before nginx binds it.
sub free_port {
    for (1 .. 100) {
        my %address = (LocalAddr => '127.0.0.1', LocalPort => 10_000 + int rand 20_000);
        my $socket = IO::Socket::INET->new(Listen => 1, ReuseAddr => 1, %address) or next;
        return $socket->sockport;
    }
    die "no free port: $!";
}

# Ends every process, and checks what nginx logged.
sub finish {
    my ($self) = @_;
    $self->end_processes;
    # Poolwatch's own alerts are critical if clients get errors.
    my @bad = grep { /\[(?:alert|emerg|crit)\]|panicked/ && !/\[crit\] \S+ (?:\*\d+ )?poolwatch: / } split /\n/, $self->error_log;
    for my $allowed (@{ $self->{allowed} }) {
        @bad = grep { $_ !~ $allowed } @bad;
    }
    Test::More::is(join("\n", @bad), '', 'no alert, emergency or panic in error.log');
    remove_tree($self->{prefix}) if Test::More->builder->is_passing;
}

sub end_processes {
    my ($self) = @_;
    my @workers = $self->{master} ? ($self->workers, $self->exiting_workers) : ();
    $self->quit('TERM') if $self->{master};
    for my $pid (keys %{ $self->{pids} }, @workers) {
        kill 'KILL', $pid;
        waitpid $pid, 0;
    }
    $self->{pids} = {};
}

# However the program ends, also by BAIL_OUT.
END {
    local $?;
    for my $host (grep { $_ && $_->{owner} == $$ } @hosts) {
        eval { $host->end_processes };
    }
}

sub DESTROY {
    my ($self) = @_;
    local ($?, $@);
    eval { $self->end_processes } if $self->{owner} == $$;
}

1;
