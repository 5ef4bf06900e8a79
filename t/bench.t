# What tools/bench does with its tables: they go between the markers of docs/performance.md, and nothing else of the page changes. The
# bench itself takes 25 minutes, and is no test.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use FindBin;
use lib "$FindBin::Bin/../benches/lib";
use Bench::Page;
use Test::More;

my $name = "$FindBin::Bin/../" . Bench::Page::NAME;
open my $file, '<', $name or die "$name: $!";
my $page = do { local $/; <$file> };

my $row = '| ' . join(' | ', 'bare nginx, `access_log off`', ('0.984 [0.84, 1.02]') x 8) . " |\n";
my $line = 'Throughput: ' . join(' ', ('wrk, 64 connections') x 20) . ".\n";
my $point = '* Wake-ups: ' . join(' ', ('0 in 60 s') x 30) . ".\n";
my $text = "![What it costs](bench.svg)\n\n$row\n$line\n$point";

my ($before, $after) = $page =~ /^(.*<!-- bench -->\n).*(<!-- \/bench -->.*)$/s or die "$name has no markers\n";
my $spliced = Bench::Page::with_tables($page, $text);
my ($found) = $spliced =~ /^\Q$before\E(.*)\Q$after\E$/s;
ok(defined $found, 'what stands around the markers stays');
is($found =~ s/\s+/ /gr, $text =~ s/\s+/ /gr, 'between them stands what was measured');
like($found, qr/^\Q$row\E/m, 'a row of a table is one line');
is_deeply([grep { length > 120 && !/^\|/ } split /\n/, $found], [], 'no other line is longer than 120 columns');
like($found, qr/^\* Wake-ups: .*\n  \S/m, 'the next line of a point belongs to it');
is(Bench::Page::with_tables($spliced, $text), $spliced, 'a second run changes nothing');
is(eval { Bench::Page::with_tables('no markers', $text); 1 } ? '' : $@, "docs/performance.md has no markers\n", 'a page without markers is said');

done_testing;
