# migration.bash - what `run` measures of live migration. Sourced, not run.

# --- migration ---------------------------------------------------------------------------
up() { # up NAME: waits until the guest NAME has written something
  local n=0
  until grep -q up "$work/gap"; do
    n=$((n + 1)); [ $n -lt 1200 ] || { cat "$work"/log* >&2; die "the guest '$1' did not come up"; }; sleep 0.1
  done
}

watch() { # watch: reads both outputs; sets $watcher
  rm -f "$work"/[ab] "$work/gap"
  mkfifo "$work/a" "$work/b" && : >"$work/gap" || die "no FIFOs"
  "$bench/gap" "$work/a" "$work/b" >"$work/gap" & watcher=$!
  until [ -r "/proc/$watcher/fdinfo/5" ]; do sleep 0.01; done
}

gap() { # gap: the longest silence since the last call, in µs
  local lines n=0
  lines=$(wc -l <"$work/gap")
  kill -USR1 "$watcher"
  until [ "$(wc -l <"$work/gap")" -gt "$lines" ]; do
    n=$((n + 1)); [ $n -lt 500 ] || die "the guest's silence could not be read"; sleep 0.01
  done
  tail -n 1 "$work/gap"
}

over() { kill -KILL "$@" "$watcher" 2>/dev/null; wait "$@" "$watcher" 2>/dev/null; }

# move NAME MIB LABEL URL [MEMBERS [MEMORY]]: moves the guest once, notes "LABEL, total", "LABEL, silence" and
# "LABEL, bytes"
move() {
  local source target receiver n=0 total
  watch
  printf '{"cpus":{"boot_vcpus":1,"max_vcpus":1},"memory":{"size":%s%s},"console":{"mode":"Off"},%s}\n' $(($2 << 20)) \
    "${6:+,$6}" "\"payload\":{\"kernel\":\"$guests/$1\"},\"serial\":{\"mode\":\"Tty\"}" >"$work/spec.json"
  "$bench/swiftlet" vmm --no-shutdown --api-socket "$work/t" >"$work/b" 2>"$work/log-t" </dev/null & target=$!
  "$bench/swiftlet" run --no-shutdown --api-socket "$work/s" "$work/spec.json" >"$work/a" 2>"$work/log-s" </dev/null & source=$!
  up "$1"
  "$bench/request" do "$work/t" vm.receive-migration "{\"receiver_url\":\"$4\"}" >/dev/null & receiver=$!
  until curl -sS --unix-socket "$work/t" http://localhost/api/v1/vm.migration 2>/dev/null | grep -q '"waiting"'; do
    n=$((n + 1)); [ $n -lt 100 ] || { cat "$work/log-t" >&2; die "nobody waits for the guest"; }; sleep 0.05
  done
  # A local move touches no memory, and what was given back is still being cleared away.
  case ${5:-} in *local*) sleep 0.2;; *) "$bench/warm" $(($2 < 3072 ? 2 * $2 : 6144));; esac
  gap >/dev/null
  total=$("$bench/request" do "$work/s" vm.send-migration "{\"destination_url\":\"$4\"${5:+,$5}}" |
    awk -F'\t' '$1 == "all" { print $2; done = 1 } END { exit !done }') || { cat "$work"/log-? >&2; die "$3: it did not move"; }
  wait $receiver || die "$3: it did not arrive"
  sleep 0.2
  note "$3, total" "$total"
  note "$3, silence" "$(gap)"
  curl -sS --unix-socket "$work/s" http://localhost/api/v1/vm.migration >"$work/report"
  note "$3, its own downtime" "$(sed -n 's/.*"downtime_ms" *: *\([0-9]*\).*/\1/p' "$work/report")000"
  note "$3, bytes" "$(sed -n 's/.*"sent_bytes" *: *\([0-9]*\).*/\1/p' "$work/report")"
  over $source $target
  rm -f "$work"/{s,t,m} "$work"/{s,t}.lock
}

# qemu_move NAME MIB LABEL URI [CHANNELS]: the same with QEMU
qemu_move() {
  local source target words result n=0
  watch
  qemu_guest "$1" "$2"
  "${words[@]}" -qmp "unix:$work/s,server=on,wait=off" >"$work/a" 2>"$work/log-s" </dev/null & source=$!
  "${words[@]}" -qmp "unix:$work/t,server=on,wait=off" -incoming "$4" >"$work/b" 2>"$work/log-t" </dev/null & target=$!
  up "$1"
  if [ -n "${5:-}" ]; then die "channels are not measured with QEMU"; fi
  until [ -S "$work/m" ]; do n=$((n + 1)); [ $n -lt 100 ] || die "QEMU does not wait"; sleep 0.05; done
  "$bench/warm" $(($2 < 3072 ? 2 * $2 : 6144))
  gap >/dev/null
  result=$("$bench/qmp" "$work/s" "$4" live) || { cat "$work"/log-? >&2; die "$3: it did not move"; }
  sleep 0.2
  note "$3, total" "${result%	*}"
  note "$3, silence" "$(gap)"
  note "$3, its own downtime" "${result#*	}000"
  over $source $target
  rm -f "$work"/{s,t,m}
}

pair_rows() { # pair_rows GUEST WHAT: what was noted of both, and the share
  local own other share
  noted_row "swiftlet, $1, $2"
  noted_row "QEMU, $1, $2"
  own=$(noted "swiftlet, $1, $2" median) other=$(noted "QEMU, $1, $2" median)
  share=$(awk -v a="$own" -v b="$other" 'BEGIN { printf "%.3f", a / b }')
  verdict "$1, $2 ($share)" "at most 0.7 of QEMU's, by the medians" "$share" 0.7
}

measure_migration() {
  local work rounds=${BENCH_ROUNDS:-7} n guest size
  echo "== migration: a guest moves to another process on this machine"
  work=$(mktemp -d "$scratch/migration.XXXXXX") || die "no scratch directory"
  command -v curl >/dev/null 2>&1 || die "no curl"
  has_qemu || die "the targets are relative to QEMU"
  measure_pairs
  measure_local
  measure_streams
  rm -rf "$work"
  busy
}

moved_guests() { # moved_guests: builds those that move beside QEMU's
  # Each writes a byte every ms; the second one 3 further pages of 10 MiB as well, which is 12 MB/s.
  payload idle -DFILL=256 -DPAUSE=1000000
  payload writer -DFILL=256 -DDIRTY=3 -DSPAN=2560 -DPAUSE=1000000
  payload large -DFILL=1024 -DPAUSE=1000000
}

measure_pairs() { # beside QEMU
  moved_guests
  row "" "min ms" "median ms" ""
  for ((n = 0; n < rounds; n++)); do
    for guest in idle writer large; do
      size=$([ $guest = large ] && echo 1024 || echo 256)
      move $guest $size "swiftlet, $guest" "unix:$work/m"
      qemu_move $guest $size "QEMU, $guest" "unix:$work/m"
    done
  done
  pair_rows idle silence; pair_rows writer silence; pair_rows large total
  noted_row "swiftlet, idle, total"; noted_row "QEMU, idle, total"
  for guest in idle writer large; do
    noted_row "swiftlet, $guest, its own downtime"; noted_row "QEMU, $guest, its own downtime"
  done
}

measure_local() {
  for size in 128 1024 8192; do
    payload "local$size" -DFILL=$((size < 3072 ? size : 3072)) -DPAUSE=1000000
    for ((n = 0; n < rounds; n++)); do
      move "local$size" $size "local, $size MiB" "unix:$work/m" '"local":true' '"shared":true'
    done
    noted_row "local, $size MiB, total"; noted_row "local, $size MiB, silence"
  done
  verdict "local" "8 GiB take at most 10 ms more than 128 MiB, by the medians" \
    "$(awk -v a="$(noted "local, 8192 MiB, total" median)" -v b="$(noted "local, 128 MiB, total" median)" 'BEGIN { print a - b }')" 10000
}

# --- in the lab --------------------------------------------------------------------------
measure_migration_lab() {
  moved_guests
  in_lab 3000 --icount --mem 10240 -e BENCH_ROUNDS -- "$root/Benchmarks/run" lab-migration
}

lab_migration() {
  local work rounds=${BENCH_ROUNDS:-3} n guest size
  lab_files gap warm
  echo "== migration in the lab: a guest moves to another process"
  work=$(mktemp -d "$scratch/migration.XXXXXX") || die "no scratch directory"
  measure_pairs
}

measure_streams() { # the throughput of 8 connections, beside iperf3
  local n server rate own bits
  command -v iperf3 >/dev/null 2>&1 || { say "no iperf3 to compare with"; missed=1; return; }
  payload streams -DFILL=3000 -DPAUSE=1000000
  for ((n = 0; n < 3; n++)); do
    move streams 3072 "8 connections" tcp:127.0.0.1:5209 '"connections":8'
    iperf3 -s -1 -p 5210 >/dev/null 2>&1 & server=$!
    sleep 0.5
    bits=$(iperf3 -c 127.0.0.1 -p 5210 -P 8 -t 4 -J | sed -n '/"sum_received"/,/}/s/.*"bits_per_second":[^0-9]*\([0-9.e+]*\).*/\1/p') ||
      die "iperf3 failed"
    wait $server
    note "iperf3, MB/s" "$(awk -v b="$bits" 'BEGIN { printf "%.0f", b / 8e6 }')"
    note "8 connections, MB/s" "$(awk -F'\t' '$1 == "8 connections, bytes" { b = $2 } $1 == "8 connections, total" { t = $2 }
      END { printf "%.0f", b / t }' "$work/times")"
  done
  own=$(noted "8 connections, MB/s" median) rate=$(noted "iperf3, MB/s" median)
  row "8 connections" "$own MB/s" "$rate MB/s" "(swiftlet, iperf3 -P 8; medians)"
  verdict "8 connections" "at least 0.8 of iperf3's" "$(awk -v a="$own" -v b="$rate" 'BEGIN { print -a / b }')" -0.8
}
