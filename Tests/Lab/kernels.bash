# What lab and guest share: tools that may be missing, Debian's kernel packages, modules in order. Sourced, not run;
# the sourcing script defines say and die.

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

need() { # need COMMAND PACKAGE: install PACKAGE if COMMAND, or a file given with its path, is absent
  case $1 in /*) [ -e "$1" ] && return 0;; esac
  command -v "$1" >/dev/null 2>&1 && return 0
  command -v apt-get >/dev/null 2>&1 || die "$1 not found and no apt-get to install $2"
  say "installing $2"
  { as_root apt-get install -y --no-install-recommends "$2" ||
    { as_root apt-get update && as_root apt-get install -y --no-install-recommends "$2"; }
  } >&2 </dev/null || die "cannot install $2"
}

find_busybox() { # a statically linked busybox
  local b
  for b in "$(command -v busybox)" /bin/busybox /usr/bin/busybox; do
    [ -n "$b" ] && [ -x "$b" ] && ! ldd "$b" >/dev/null 2>&1 && { printf '%s' "$b"; return; }
  done
  need busybox busybox-static
  command -v busybox
}

newest_kernel() { # newest_kernel METAPACKAGE: the kernel package that it stands for
  local meta=$1 name
  find_name() { apt-cache depends "$meta" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n1; }
  name=$(find_name)
  [ -n "$name" ] || { as_root apt-get update >&2; name=$(find_name); }
  printf '%s' "$name"
}

fetch_kernel() { # fetch_kernel PACKAGE DIRECTORY: unpacks it there, with modules.dep, vmlinux and its name in ok
  local pkg=$1 dir=$2 tmp ver
  need dpkg dpkg; need lz4 lz4
  say "fetching $pkg"
  mkdir -p "${dir%/*}" && tmp=$(mktemp -d "${dir%/*}/fetch.XXXXXX") && chmod 755 "$tmp" || die "no scratch directory"
  # apt's own sandbox user cannot write to our cache, hence APT::Sandbox::User=root
  download() { (cd "$tmp" && apt-get -o APT::Sandbox::User=root download "$pkg" >&2); }
  { download || { as_root apt-get update >&2; download; }; } && dpkg -x "$tmp"/*.deb "$tmp/x" ||
    { rm -rf "$tmp"; die "cannot fetch $pkg"; }
  ver=$(ls "$tmp/x/lib/modules") || die "$pkg has no modules"
  if command -v depmod >/dev/null 2>&1; then depmod -b "$tmp/x" "$ver"
  else "$(find_busybox)" depmod -b "$tmp/x" "$ver"; fi || die "depmod failed"
  unpack_vmlinux "$tmp/x"/boot/vmlinuz-* "$tmp/x/vmlinux" || { rm -f "$tmp/x/vmlinux"; say "no ELF found inside $pkg's bzImage"; }
  printf '%s' "$pkg" >"$tmp/x/ok"
  rm -rf "$dir"; mv "$tmp/x" "$dir"; rm -rf "$tmp"
}

# The ELF inside a bzImage: it boots by PVH, which saves emulating the decompressor.
unpack_vmlinux() { # unpack_vmlinux BZIMAGE ELF
  local n off len tool
  u() { od -An -v -j "$(($2))" -N "$3" -t "u$3" "$1" | tr -d ' '; }
  n=$(u "$1" 0x1f1 1); off=$(( (n + 1) * 512 + $(u "$1" 0x248 4) )); len=$(u "$1" 0x24c 4)
  case $(od -An -v -j "$off" -N 4 -t x1 "$1" | tr -d ' ') in
    fd377a58) tool=xz;; 1f8b*) tool=gzip;; 28b52ffd) tool=zstd;; 02214c18) tool=lz4;; *) return 1;;
  esac
  # the payload ends with its 4-byte unpacked size
  tail -c +$((off + 1)) "$1" | head -c $((len - 4)) | "$tool" -dc >"$2" 2>/dev/null
  [ "$(od -An -N 4 -t x1 "$2" | tr -d ' ')" = 7f454c46 ]
}

# Post-order walk of modules.dep: every module after all it needs. Unknown names are skipped.
ordered_modules() { # ordered_modules MODULES.DEP NAME...
  awk -v want="${*:2}" '
    function name(p) { sub(/.*\//, "", p); sub(/\.ko.*$/, "", p); gsub(/-/, "_", p); return p }
    function visit(m,   n, i, d) {
      if (done[m]++ || !(m in path)) return
      n = split(deps[m], d, " "); for (i = n; i > 0; i--) visit(name(d[i]))
      print path[m]
    }
    { p = $1; sub(/:$/, "", p); m = name(p); path[m] = p
      $1 = ""; deps[m] = $0 }
    END { n = split(want, w, " "); for (i = 1; i <= n; i++) { gsub(/-/, "_", w[i]); visit(w[i]) } }
  ' "$1"
}
