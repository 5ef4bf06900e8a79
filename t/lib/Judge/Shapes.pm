package Judge::Shapes;

# The upstreams that the judge sends requests to, and the locations that lead to them: one shape for each way in which
# nginx asks upstreams. Each upstream has addresses of its own, so that an address in the access log says whose it is;
# only the pair of blocks that share their servers does not, where the first address of a group tells them apart.

use strict;
use warnings;

use Exporter qw(import);
our @EXPORT_OK = qw(shapes);

my $RETRY_ALL = 'proxy_next_upstream error timeout http_500 http_502 http_503 http_504 http_403 http_404 http_429 non_idempotent;';

my @GOOD = qw(200 200 200 204 302 304 403 404 429 big noheaders halfbody);
my @BAD  = qw(500 502 503 504 close reset hang garbage halfhead bighead);
my @CGI_GOOD = grep { !/noheaders/ } @GOOD;
my @CGI_BAD = grep { !/garbage/ } @BAD;
my @TLS = qw(200 200 200 204 302 403 404 429 500 502 503 504 close);
my @HINTS = qw(hint hint404 hint500 hint503 hintclose);

# A shape: name; kind, under which it is counted in the table; since, the first version that has it; needs, a module
# that nginx may lack; blocks, in the order in which a request asks them; locations; plans, what the servers of each
# block are told to do; weight, how often it is chosen.
#
# A block: name, count of servers, protocol, options of servers, more directives, pools, kind of pools.
sub shapes {
    my (%where) = @_;
    return (balancers(), protocols(%where), failures(), redirects(), caches(), subrequests(), early_answers());
}

sub block {
    my ($name, %more) = @_;
    return { name => $name, servers => 2, protocol => 'http', options => 'max_fails=0', more => '', pools => 'explicit', %more };
}

sub shape {
    my ($kind, $name, %more) = @_;
    return {
        kind => $kind, name => $name, since => '', weight => 2, clients => [qw(GET GET GET HEAD POST OLD)],
        blocks => [ block($name) ], plans => [ [ @GOOD, @BAD ] ], locations => "location /$name/ { proxy_pass http://$name; }", %more,
    };
}

sub balancers {
    my @plain = (
        [ 'zone', 'zone zone 64k;' ], ['no_zone', ''], [ 'least_conn', 'least_conn;' ], [ 'hash', 'zone hash 64k; hash $request_uri;' ],
        [ 'consistent', 'hash $request_uri consistent;' ], [ 'ip_hash', 'ip_hash;' ], [ 'random', 'zone random 64k; random two least_conn;' ],
    );
    my @shapes = map {
        my ($name, $more) = @$_;
        shape('balancers', $name, blocks => [ block($name, more => $more) ], clients => [qw(GET GET GET HEAD POST OLD ABORT)], plans => [ [ @GOOD, @BAD ] ])
    } @plain;
    push @shapes, shape('balancers', 'sticky', since => '1.29.6', blocks => [ block('sticky', more => 'zone sticky 64k; sticky cookie s;') ]);
    push @shapes, shape('balancers', 'keepalive', weight => 5, blocks => [ block('keepalive', more => 'keepalive 8;') ], plans => [ [ @GOOD, @GOOD, @BAD, ('stale') x 12 ] ],
        locations => 'location /keepalive/ { proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://keepalive; }');
    push @shapes, shape('balancers', 'by_header', blocks => [ block('by_header', pools => 'header') ], locations => "location /by_header/ { $RETRY_ALL proxy_pass http://by_header; }");
    push @shapes, shape('balancers', 'by_role', blocks => [ block('by_role', pools => 'role', backup => 1) ]);
    push @shapes, shape('balancers', 'many', weight => 1, blocks => [ block('many', servers => 70, pools => 'role') ], plans => [ [ @GOOD, grep { !/hang/ } @BAD ] ]);
    push @shapes, shape('balancers', 'changing', weight => 4, blocks => [ block('changing', changes => 1, more => 'zone changing 64k;') ]);
    return @shapes;
}

sub protocols {
    my (%where) = @_;
    my $cgi = sub {
        my ($name, $directives) = @_;
        return shape($name, $name, blocks => [ block($name, protocol => $name) ], plans => [ [ @CGI_GOOD, @CGI_BAD ] ],
            locations => "location /$name/ { $directives }");
    };
    my $fastcgi_params = 'fastcgi_param REQUEST_URI $request_uri; fastcgi_param REQUEST_METHOD $request_method; fastcgi_next_upstream error timeout http_500 http_503 http_429 non_idempotent; fastcgi_read_timeout 200ms;';
    my $more = sub { my ($name) = @_; "${name}_param REQUEST_URI \$request_uri; ${name}_param REQUEST_METHOD \$request_method; ${name}_next_upstream error timeout http_500 http_404 non_idempotent; ${name}_read_timeout 200ms;" };
    return (
        shape('unix', 'unix', blocks => [ block('unix', protocol => 'unix') ]),
        shape('unix', 'long_unix', blocks => [ block('long_unix', protocol => 'unix', long => 1, pools => 'role') ]),
        $cgi->('fastcgi', "$fastcgi_params fastcgi_pass fastcgi;"),
        $cgi->('uwsgi', $more->('uwsgi') . ' uwsgi_pass uwsgi;'),
        $cgi->('scgi',  $more->('scgi') . ' scgi_pass scgi;'),
        shape('memcached', 'memcached', blocks => [ block('memcached', protocol => 'memcached') ], plans => [ [qw(200 200 404 500 close reset hang halfhead halfbody)] ], clients => [qw(GET GET HEAD)],
            locations => 'location /memcached/ { set $memcached_key $request_uri; memcached_next_upstream error timeout invalid_response not_found; memcached_read_timeout 200ms; memcached_pass memcached; }'),
        shape('https', 'https', needs => 'ssl', blocks => [ block('https', protocol => 'tls') ], plans => [ \@TLS ], locations => 'location /https/ { proxy_pass https://https; }'),
        shape('https', 'unverified', needs => 'ssl', weight => 1, blocks => [ block('unverified', protocol => 'tls') ], plans => [ ['200'] ],
            locations => "location /unverified/ { proxy_ssl_verify on; proxy_ssl_trusted_certificate $where{other_certificate}; proxy_pass https://unverified; }"),
        shape('https', 'no_tls', needs => 'ssl', weight => 1, blocks => [ block('no_tls') ], plans => [ ['200'] ], locations => 'location /no_tls/ { proxy_pass https://no_tls; }'),
        shape('grpc', 'grpc', needs => 'v2', blocks => [ block('grpc', protocol => 'h2') ], plans => [ \@TLS ],
            locations => 'location /grpc/ { grpc_next_upstream error timeout http_500 http_429 non_idempotent; grpc_pass grpc://grpc; }'),
        shape('grpc', 'grpcs', needs => 'v2', blocks => [ block('grpcs', protocol => 'h2s') ], plans => [ \@TLS ],
            locations => 'location /grpcs/ { grpc_next_upstream error timeout http_500 http_429 non_idempotent; grpc_pass grpcs://grpcs; }'),
        shape('grpc', 'grpcs_no_tls', needs => 'v2', weight => 1, blocks => [ block('grpcs_no_tls', is_tls => 1) ], plans => [ ['200'] ], locations => 'location /grpcs_no_tls/ { grpc_pass grpcs://grpcs_no_tls; }'),
        shape('http2', 'http2', needs => 'v2', since => '1.29.4', blocks => [ block('http2', protocol => 'h2') ], plans => [ \@TLS ], locations => 'location /http2/ { proxy_http_version 2; proxy_pass http://http2; }'),
        shape('websocket', 'websocket', blocks => [ block('websocket') ], clients => ['UPGRADE'], plans => [ [qw(101 101 404 500 close hang)] ],
            locations => 'location /websocket/ { proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; proxy_pass http://websocket; }'),
    );
}

sub failures {
    return (
        shape('failures', 'half_dead', blocks => [ block('half_dead', dead => [1]) ]),
        shape('failures', 'all_dead', weight => 1, blocks => [ block('all_dead', dead => [ 0, 1 ]) ]),
        shape('failures', 'full', weight => 1, blocks => [ block('full', full => [1]) ]),
        shape('failures', 'all_full', weight => 1, blocks => [ block('all_full', servers => 1, full => [0]) ]),
        shape('failures', 'twelve_dead', weight => 1, blocks => [ block('twelve_dead', servers => 12, dead => [ 0 .. 11 ]) ]),
        shape('failures', 'no_live', blocks => [ block('no_live', options => 'max_fails=1 fail_timeout=2s', more => 'zone no_live 64k;') ]),
        shape('failures', 'no_live_local', blocks => [ block('no_live_local', options => 'max_fails=1 fail_timeout=2s', dead => [0]) ]),
        shape('failures', 'backup', blocks => [ block('backup', backup => 1, options => 'max_fails=2 fail_timeout=1s') ]),
        shape('failures', 'down', blocks => [ block('down', servers => 3, down => [1]) ]),
        shape('failures', 'single', blocks => [ block('single', servers => 1) ]),
        shape('failures', 'rejected', weight => 3, locations => "location /rejected/ { $RETRY_ALL proxy_pass http://rejected; }"),
        shape('failures', 'rejected_backup', blocks => [ block('rejected_backup', backup => 1) ], locations => "location /rejected_backup/ { $RETRY_ALL proxy_pass http://rejected_backup; }"),
        shape('failures', 'no_retry', locations => 'location /no_retry/ { proxy_next_upstream off; proxy_pass http://no_retry; }'),
        shape('failures', 'variable', locations => 'location /variable/ { set $to variable; proxy_pass http://$to; }'),
        shape('failures', 'unbuffered', locations => 'location /unbuffered/ { proxy_buffering off; proxy_request_buffering off; proxy_pass http://unbuffered; }'),
        shape('failures', 'filtered', locations => 'location /filtered/ { gzip on; gzip_min_length 1; sub_filter good better; proxy_pass http://filtered; }'),
        shape('failures', 'stored', clients => ['GET'], locations => 'location /stored/ { proxy_store store/$arg_none$request_id; proxy_pass http://stored; }'),
    );
}

sub redirects {
    my $errors = 'proxy_next_upstream off; proxy_intercept_errors on; error_page 500 502 503 504';
    my $accel = sub { my ($name, $target) = @_; block($name, accel => $target) };
    my $led = [qw(accel accel accel 200 404 500 close hang)];
    my $half = [qw(200 500 500 502 503 close)];
    return (
        shape('redirects', 'to_page', plans => [$half], locations => "location /to_page/ { $errors /page; proxy_pass http://to_page; } location = /page { internal; return 200 page; }"),
        shape('redirects', 'to_page_as_200', plans => [$half], locations => "location /to_page_as_200/ { $errors =200 /page; proxy_pass http://to_page_as_200; }"),
        shape('redirects', 'to_other', blocks => [ block('to_other'), block('to_other_then') ], plans => [ $half, [ @GOOD, @BAD ] ],
            locations => "location /to_other/ { $errors = \@other; proxy_pass http://to_other; } location \@other { proxy_pass http://to_other_then; }"),
        shape('redirects', 'to_same', same => 1, plans => [ $half, [ @GOOD, @BAD ] ],
            locations => "location /to_same/ { $errors = \@same; proxy_pass http://to_same; } location \@same { rewrite ^(.*) /second\$1 break; proxy_pass http://to_same; }"),
        shape('redirects', 'to_cached', keys => 15, clients => ['GET'], blocks => [ block('to_cached'), block('to_cached_then') ], plans => [ $half, [qw(200 200 200 500 404)] ],
            locations => "location /to_cached/ { $errors = \@cached; proxy_pass http://to_cached; } location \@cached { proxy_cache objects; proxy_cache_key to_cached\$key; proxy_cache_valid 200 1s; proxy_pass http://to_cached_then; }"),
        shape('redirects', 'to_nowhere', plans => [$half], locations => "location /to_nowhere/ { $errors = \@nowhere; proxy_pass http://to_nowhere; } location \@nowhere { set \$nowhere no.such.host; proxy_pass http://\$nowhere; }"),
        shape('redirects', 'mirrored_pair', weight => 3, blocks => [ block('blue_first', pair => 'first'), block('green_first', pair => 'second') ], plans => [ $half, [ @GOOD, @BAD ] ],
            locations => "location /mirrored_pair/ { $errors = \@green; proxy_pass http://blue_first; } location \@green { rewrite ^(.*) /second\$1 break; proxy_pass http://green_first; }"),
        shape('redirects', 'accel_other', clients => ['GET'], blocks => [ $accel->('accel_other', '/led_other'), block('accel_other_then') ], plans => [ $led, [ @GOOD, @BAD ] ],
            locations => 'location /accel_other/ { proxy_pass http://accel_other; } location /led_other/ { internal; proxy_pass http://accel_other_then; }'),
        shape('redirects', 'accel_cached', weight => 3, keys => 15, clients => ['GET'], blocks => [ $accel->('accel_cached', '/led_cached'), block('accel_cached_then') ], plans => [ $led, [qw(200 200 404 500)] ],
            locations => 'location /accel_cached/ { proxy_pass http://accel_cached; } location /led_cached/ { internal; proxy_cache objects; proxy_cache_key accel_cached$key; proxy_cache_valid 200 1s; proxy_pass http://accel_cached_then; }'),
        shape('redirects', 'accel_file', clients => ['GET'], blocks => [ $accel->('accel_file', '/led_file') ], plans => [$led],
            locations => 'location /accel_file/ { proxy_pass http://accel_file; } location /led_file/ { internal; try_files /file =500; }'),
        shape('redirects', 'accel_missing', clients => ['GET'], blocks => [ $accel->('accel_missing', '/led_missing') ], plans => [$led], locations => 'location /accel_missing/ { proxy_pass http://accel_missing; } location /led_missing/ { internal; return 404; }'),
        shape('redirects', 'accel_nowhere', clients => ['GET'], blocks => [ $accel->('accel_nowhere', '/led_nowhere') ], plans => [$led],
            locations => 'location /accel_nowhere/ { proxy_pass http://accel_nowhere; } location /led_nowhere/ { internal; set $nowhere no.such.host; proxy_pass http://$nowhere; }'),
        shape('redirects', 'post_action', action => 1, clients => ['GET'], blocks => [ block('post_action'), block('post_action_then') ], plans => [ [ @GOOD, @BAD ], [ @GOOD, @BAD ] ],
            locations => 'location /post_action/ { proxy_pass http://post_action; post_action @action; } location @action { proxy_pass http://post_action_then; }'),
    );
}

sub caches {
    my $cached = sub {
        my ($name, $more, @plan) = @_;
        return shape('cache', $name, keys => 15, weight => 4, clients => [qw(GET GET HEAD)], plans => [ [@plan] ],
            locations => "location /$name/ { proxy_cache objects; proxy_cache_key $name\$key; proxy_cache_valid 200 404 1s; $more proxy_pass http://$name; }");
    };
    my $stale = 'proxy_cache_use_stale error timeout updating http_500 http_503 http_404;';
    return (
        $cached->('cached', 'proxy_cache_lock on;', @GOOD, @BAD),
        $cached->('cached_stale', "proxy_next_upstream off; $stale", qw(200 200 500 503 404 close hang 502)),
        $cached->('cached_background', "$stale proxy_cache_background_update on;", qw(200 200 500 503 close 502)),
        $cached->('cached_revalidated', 'proxy_cache_revalidate on;', qw(200 304 304 500)),
    );
}

sub subrequests {
    my $plan = [qw(200 200 200 500 404 close 503)];
    return (
        shape('subrequests', 'auth', needs => 'auth_request', blocks => [ block('auth'), block('auth_app') ], plans => [ [qw(200 200 200 204 403 500 close hang)], $plan ],
            locations => 'location /auth/ { auth_request /auth_check; proxy_pass http://auth_app; } location = /auth_check { internal; proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_pass http://auth$request_uri; }'),
        shape('subrequests', 'mirror', blocks => [ block('mirror'), block('mirror_app') ], plans => [ [qw(200 200 500 close 404)], $plan ],
            locations => 'location /mirror/ { mirror /mirror_copy; proxy_pass http://mirror_app; } location = /mirror_copy { internal; proxy_pass http://mirror$request_uri; }'),
        shape('subrequests', 'ssi', clients => ['GET'], blocks => [ block('ssi', body => '<!--#include virtual="/ssi_one%PATH%" --><!--#include virtual="/ssi_two%PATH%" -->'), block('ssi_part') ],
            plans => [ [qw(200 200 200 500)], $plan ], locations => 'location /ssi/ { ssi on; proxy_pass http://ssi; } location /ssi_one/ { internal; proxy_pass http://ssi_part; } location /ssi_two/ { internal; proxy_pass http://ssi_part; }'),
        shape('subrequests', 'slice', needs => 'slice', weight => 1, clients => ['GET'], plans => [ [qw(200 200 200 500 close)] ],
            locations => 'location /slice/ { slice 1k; proxy_set_header Range $slice_range; proxy_pass http://slice; }'),
    );
}

sub early_answers {
    my @since = (since => '1.29.0', clients => ['GET']);
    return (
        shape('early hints', 'hints', @since, plans => [ [ @HINTS, 200, 500 ] ], locations => 'location /hints/ { early_hints 1; proxy_http_version 1.1; proxy_pass http://hints; }'),
        shape('early hints', 'hints_dropped', @since, blocks => [ block('hints_dropped', servers => 1) ], plans => [ [ @HINTS, 200, 500 ] ]),
    );
}

1;
