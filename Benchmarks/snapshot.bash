# snapshot.bash - what `run` measures of snapshots, restores and clones. Sourced, not run.

# --- snapshots ---------------------------------------------------------------------------
# Where snapshots and what is measured with them lie, and the guests; and how much of a large guest is written.
scratch=$bench guests=$bench/guests most_filled=3072

payload() { # payload NAME DEFINES..: builds the guest that is measured, where it is not there already (in the lab)
  [ "$scratch" = "$bench" ] || { [ -x "$guests/$1" ] || die "no guest '$1' was brought to the lab"; return; }
  mkdir -p "$guests"
  cc -nostdlib -static -no-pie -Wl,--build-id=none,--no-warn-rwx-segments,-T,"$root/Benchmarks/guest.ld" "${@:2}" \
    -o "$guests/$1" "$root/Benchmarks/guest.S" || die "the measured guest does not build"
}

guest_up() { # guest_up NAME MIB: boots it, waits until it has filled its memory; sets $pid
  local n=0
  spec "$work/spec.json" "$2" "\"payload\":{\"kernel\":\"$guests/$1\"},\"serial\":{\"mode\":\"Tty\"}"
  : >"$work/out"
  "$bench/swiftlet" run --api-socket "$work/s" "$work/spec.json" >"$work/out" 2>"$work/log" & pid=$!
  until grep -q '~' "$work/out"; do
    n=$((n + 1)); [ $n -lt 1200 ] || { cat "$work/log" >&2; die "the guest '$1' did not come up"; }; sleep 0.1
  done
}

guest_down() { kill -KILL "$pid"; wait "$pid" 2>/dev/null; }

take() { # take DIRECTORY [TYPE]: a snapshot of the running guest; prints the µs that it stood still
  "$bench/request" do "$work/s" vm.pause "" \
    vm.snapshot "{\"destination_url\":\"file://$1\"${2:+,\"type\":\"$2\"}}" vm.resume "" |
    awk -F'\t' '$1 == "all" { print $2; done = 1 } END { exit !done }' || die "no snapshot could be taken"
}

data_bytes() { sed -n 's/.*"data_bytes" : \([0-9]*\).*/\1/p' "$1/manifest.json"; }

dd_time() { # dd_time FILE BYTES: copies so much of the file, which is in memory, and waits for the disk; prints µs
  local from=$EPOCHREALTIME
  head -c "$2" "$1" | dd of="$work/dd" bs=1M iflag=fullblock conv=fsync status=none || die "dd failed"
  awk -v a="$from" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.0f\n", (b - a) * 1e6 }'
  rm -f "$work/dd"
}

note() { printf '%s\t%s\n' "$1" "$2" >>"$work/times"; } # note NAME µs

note_take() { # note_take NAME DIRECTORY TYPE
  local time
  time=$(take "$2" "$3") || exit 2
  note "$1" "$time"
}

noted() { # noted NAME min|median: of what was noted, in µs
  awk -F'\t' -v n="$1" '$1 == n { print $2 }' "$work/times" | sort -n |
    awk -v what="$2" '{ t[NR] = $1 } END { print what == "min" ? t[1] : (t[int((NR + 1) / 2)] + t[int(NR / 2) + 1]) / 2 }'
}

noted_row() { # noted_row NAME [WORDS]
  row "$1" "$(awk -v t="$(noted "$1" min)" 'BEGIN { printf "%.2f", t / 1000 }')" \
    "$(awk -v t="$(noted "$1" median)" 'BEGIN { printf "%.2f", t / 1000 }')" "${2:-}"
}

# As lean as in boot; without what this host's KVM lets no guest of QEMU have.
qemu_guest() { # qemu_guest NAME MIB: leaves the command in $words
  words=("${qemu[@]}" -M "microvm,acpi=on,pcie=off,rtc=on,pit=off,pic=off,isa-serial=on" -nodefaults
    -no-user-config -display none -enable-kvm -cpu host,-arch-capabilities -m "$2" -smp 1 -kernel "$guests/$1" -no-reboot
    -serial stdio)
}

has_qemu() { command -v "${qemu[0]}" >/dev/null 2>&1 || { say "no qemu-system-x86_64 to compare with"; false; }; }

qemu_up() { # qemu_up NAME MIB: boots it under QEMU; sets $pid
  local n=0 words
  qemu_guest "$1" "$2"
  : >"$work/out"
  "${words[@]}" -qmp "unix:$work/q,server=on,wait=off" >"$work/out" 2>"$work/log" & pid=$!
  until grep -q '~' "$work/out"; do
    n=$((n + 1)); [ $n -lt 1200 ] || { cat "$work/log" >&2; die "QEMU's guest '$1' did not come up"; }; sleep 0.1
  done
}

measure_restore() {
  local work pid size out difference words guest
  echo "== restore: exec to the restored guest's first instruction, OnDemand"
  work=$(mktemp -d "$scratch/snapshot.XXXXXX") || die "no scratch directory"
  for size in 128 256 1024 8192; do
    # Below the hole under 4 GiB, all of it is written.
    guest=last$size
    payload $guest -DLAST -DFILL=$((size < most_filled ? size : most_filled))
    guest_up $guest $size
    take "$work/snapshot" >/dev/null
    guest_down
    out=$("$bench/measure" -n "${BENCH_ROUNDS:-40}" -w 3 -k after_us "$size MiB" "$bench/swiftlet" vmm -v --restore \
      "source_url=file://$work/snapshot,resume=on,memory_restore_mode=ondemand" --- "baseline, $size MiB" \
      "$bench/baseline" $size) || die "the restore could not be measured"
    times <<<"$out"
    difference=$(awk -F'\t' '$1 == "time" { min[$2 ~ /^base/] = $4 }
      $1 == "against" { printf "%.2f %.2f", $6 / 1000, (min[0] - min[1]) / 1000 }' <<<"$out")
    row "swiftlet - baseline" "${difference#* }" "${difference% *}" "(of minima; median of pairwise differences)"
    note "restore, $size MiB" "${difference#* }"
    # The lab's ms are instructions, and say nothing of a processor's.
    [ "$scratch" != "$bench" ] || verdict "restore, $size MiB" "at most 5 ms more, by the minima" "${difference#* }" 5
    if [ $size = 256 ] && has_qemu; then
      qemu_up $guest $size
      "$bench/qmp" "$work/q" "$work/migrated" quit >/dev/null || die "QEMU could not migrate to a file"
      wait "$pid" 2>/dev/null
      qemu_guest $guest $size
      out=$("$bench/measure" -n "${BENCH_ROUNDS:-40}" -w 1 -m '~' "to the first output, 256 MiB" "$bench/swiftlet" vmm \
        --restore "source_url=file://$work/snapshot,resume=on,memory_restore_mode=ondemand" --- \
        "QEMU microvm, the same" "${words[@]}" -incoming "exec:cat $work/migrated") || die "QEMU could not be measured"
      times <<<"$out"
    fi
    rm -rf "$work/snapshot" "$work/migrated"
  done
  [ "$scratch" = "$bench" ] || verdict "restore" "with 8 GiB at most 1.1 times as much above the baseline as with 128 MiB" \
    "$(awk -v a="$(noted "restore, 8192 MiB" min)" -v b="$(noted "restore, 128 MiB" min)" 'BEGIN { print a / b }')" 1.1
  rm -rf "$work"
  busy
}

measure_clones() {
  local work pid out last rss pss
  echo "== clones: a hundred VMs from one snapshot of 256 MiB, each of which writes a MiB of its own every 100 ms"
  work=$(mktemp -d "$scratch/snapshot.XXXXXX") || die "no scratch directory"
  payload busy -DFILL=256 -DDIRTY=256 -DPAUSE=100000000
  guest_up busy 256
  take "$work/snapshot" >/dev/null
  guest_down
  out=$("$bench/clones" 100 '~' "$bench/swiftlet" vmm --restore \
    "source_url=file://$work/snapshot,resume=on,memory_restore_mode=ondemand") || die "the clones could not be measured"
  last=$(awk '$1 == "last" { print $2 }' <<<"$out")
  rss=$(awk '$1 == "rss" { print $2 }' <<<"$out") pss=$(awk '$1 == "pss" { print $2 }' <<<"$out")
  row "" "first ms" "median ms" "last ms"
  row "until they ran" "$(awk '$1 == "first" { print $2 }' <<<"$out")" "$(awk '$1 == "median" { print $2 }' <<<"$out")" \
    "$last"
  row "resident, all together" "$((pss / 1024)) MiB PSS" "$((rss / 1024)) MiB RSS" ""
  verdict "clones' start" "all run within 3 s" "$last" 3000
  verdict "clones' memory" "under 3 GiB resident, by the sum of RSS" "$rss" $((3 << 20))
  rm -rf "$work"
  busy
}

measure_snapshot() {
  local work pid n bytes rounds=${BENCH_ROUNDS:-5} pages time name extra
  echo "== snapshot: how long a guest of 1 GiB stands still"
  work=$(mktemp -d "$scratch/snapshot.XXXXXX") || die "no scratch directory"
  df -h "$work" | awk 'NR == 2 { print "on " $1 ", " $4 " free" }'
  payload idle -DFILL=1024 -DPAUSE=10000000
  guest_up idle 1024
  take "$work/first" >/dev/null
  bytes=$(data_bytes "$work/first")
  for ((n = 0; n < rounds; n++)); do
    # In turn first and second, since a disk's own memory favours one of them.
    if [ $((n % 2)) = 0 ]; then note dd "$(dd_time "$work/first/memory.bin" "$bytes")"; fi
    note_take full "$work/full" Full
    if [ $((n % 2)) = 1 ]; then note dd "$(dd_time "$work/first/memory.bin" "$bytes")"; fi
    note_take "diff, idle" "$work/diff" Diff
    [ $n = $((rounds - 1)) ] || rm -rf "$work/full" "$work/diff"
  done
  guest_down
  row "" "min ms" "median ms" ""
  noted_row full "($bytes bytes of pages that are not zero)"
  noted_row dd "(as many bytes, conv=fsync)"
  noted_row "diff, idle" "($(data_bytes "$work/diff") bytes)"
  verdict "full snapshot" "at most dd's time, by the minima" "$(noted full min)" "$(noted dd min)"
  verdict "diff's bytes" "at most 5 % of the full one's" "$(data_bytes "$work/diff")" $((bytes / 20))
  verdict "diff's time" "at most 10 % of the full one's, by the minima" "$(noted "diff, idle" min)" \
    "$(($(noted full min) / 10))"
  rm -rf "$work/full" "$work/diff"

  for pages in 1024 4096 16384 65536; do
    name="diff, $((pages / 256)) MiB written"
    payload writer$pages -DFILL=1024 -DDIRTY=$pages -DPAUSE=10000000
    guest_up writer$pages 1024
    for ((n = 0; n < rounds; n++)); do
      # Both write to memory that the page cache had before: a virtual machine's own host may have none there yet.
      take "$work/full" Full >/dev/null
      rm -rf "$work/diff"
      # Until it has written all of its pages.
      sleep 1.5
      note_take "$name" "$work/diff" Diff
      bytes=$(data_bytes "$work/diff")
      rm -rf "$work/full"
      note "dd, $((pages / 256)) MiB" "$(dd_time "$work/first/memory.bin" "$bytes")"
    done
    guest_down
    rm -rf "$work/diff"
    noted_row "$name" "($bytes bytes, dd $(awk -v t="$(noted "dd, $((pages / 256)) MiB" min)" 'BEGIN { printf "%.2f", t / 1000 }') ms)"
    verdict "$name" "no further page but 64" "$bytes" $(((pages + 64) * 4096))
    extra=$(awk -v a="$(noted "$name" min)" -v b="$(noted "diff, idle" min)" 'BEGIN { print a - b }')
    verdict "$name" "beyond an idle diff's time at most dd's, by the minima" "$extra" \
      "$(noted "dd, $((pages / 256)) MiB" min)"
  done
  rm -rf "$work/first"
  if has_qemu; then
    qemu_up idle 1024
    for ((n = 0; n < rounds; n++)); do
      time=$("$bench/qmp" "$work/q" "$work/migrated") || die "QEMU could not migrate to a file"
      note "QEMU microvm, stop to a file" "$time"
      rm -f "$work/migrated"
    done
    guest_down
    noted_row "QEMU microvm, stop to a file" "(exec:dd conv=fsync, no limit of bandwidth)"
  fi
  rm -rf "$work"
  busy
}

# --- in the lab --------------------------------------------------------------------------
# An eighth of the memory is written there, since a processor that is emulated fills it.
measure_restore_lab() {
  local size most_filled=384
  for size in 128 256 1024 8192; do
    payload last$size -DLAST -DFILL=$((size < most_filled ? size : most_filled))
  done
  in_lab 1500 --icount --mem 10240 -e BENCH_ROUNDS -- "$root/Benchmarks/run" lab-restore
}

measure_snapshot_lab() {
  local pages
  payload idle -DFILL=1024 -DPAUSE=10000000
  for pages in 1024 4096 16384 65536; do payload writer$pages -DFILL=1024 -DDIRTY=$pages -DPAUSE=10000000; done
  in_lab 2400 --icount --mem 8192 -e BENCH_ROUNDS -- "$root/Benchmarks/run" lab-snapshot
}

lab_files() { # lab_files PROGRAM..: all that is timed lies in memory
  mount -o remount,size=90% /dev/shm && cd /dev/shm && mkdir bench || die "no room in the lab's memory"
  local name
  for name in swiftlet request qmp guests "$@"; do cp -R "$bench/$name" bench/ || die "no room in the lab's memory"; done
  BENCH_ROUNDS=${BENCH_ROUNDS:-3}
  lab_qemu
  bench=/dev/shm/bench scratch=/dev/shm guests=/dev/shm/bench/guests
  find . -type f -exec cat {} + >/dev/null
}

lab_snapshots() { # lab_snapshots restore|snapshot
  local most_filled=384
  lab_files measure baseline
  "measure_$1"
}
