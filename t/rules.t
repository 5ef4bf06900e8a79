# The alert rules for Prometheus, by Prometheus' own tests of rules; and that those tests see what they are for.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use Test::More;

my $folder = abs_path(dirname(__FILE__) . '/../deploy/prometheus');
my $silence = qr/ unless on \(job, instance, upstream\) poolwatch_silenced == 1/;

sub slurp {
    my ($name) = @_;
    open my $file, '<', $name or die "$name: $!";
    local $/;
    return <$file>;
}

# What promtool says of these rules, and whether it is content.
sub promtool {
    my ($rules, @command) = @_;
    my $place = tempdir(CLEANUP => 1);
    my %files = ('poolwatch.rules.yml' => $rules, 'poolwatch.rules.test.yml' => slurp("$folder/poolwatch.rules.test.yml"));
    for my $name (keys %files) {
        open my $file, '>', "$place/$name" or die "$name: $!";
        print $file $files{$name};
        close $file;
    }
    open my $tool, '-|', "cd $place && promtool @command 2>&1" or die $!;
    my $said = do { local $/; <$tool> };
    return (close $tool, $said);
}

my $rules = slurp("$folder/poolwatch.rules.yml");
for my $command (['check', 'rules', 'poolwatch.rules.yml'], ['test', 'rules', 'poolwatch.rules.test.yml']) {
    my ($is_well, $said) = promtool($rules, @$command);
    ok($is_well, "promtool @$command") or diag $said;
}

my @traffic = map { substr $_, 0, index $_, "\n" } grep { /$silence/ } split /- alert: /, $rules;
is_deeply([sort @traffic], [map { "Poolwatch$_" } qw(ErrorRate Mixed NoPoolServes OtherPoolServes)], 'rules about traffic heed a silence');
for my $alert (@traffic) {
    my $loud = $rules =~ s/(- alert: $alert\n.*?)\s*$silence/$1/sr;
    my ($is_well, $said) = promtool($loud, 'test', 'rules', 'poolwatch.rules.test.yml');
    ok(!$is_well && $said =~ /alertname: ?$alert/, "$alert that heeds none is found") or diag $said;
}

done_testing;
