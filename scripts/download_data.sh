#!/usr/bin/env bash
# Downloads a public data set, verifies it and unpacks it.
#
#   scripts/download_data.sh NAME [DIR]
#
# NAME: cifar10 cifar100 mnist fashion-mnist imagenette tinyshakespeare wikitext2
# DIR:  where to put it (default: datasets, where the configs look)
#
# Nothing that exists is overwritten: what is already there and verifies is kept, what does not verify is an error.
# Files arrive as NAME.part and archives unpack into a fresh directory; both are renamed only once they are whole.
# Exit codes: 0 done, 1 download or verification failed, 2 wrong usage.
set -euo pipefail

usage() { sed -n '2,12s/^# \{0,1\}//p' "$0"; }
say() { printf '%s\n' "download_data: $*"; }
fail() { printf '%s\n' "download_data: error: $*" >&2; exit 1; }

# digest FILE SUM: is SUM (MD5 of 32 hex digits or SHA-256 of 64) the file's?
digest() {
  local found
  case ${#2} in
    32) found=$(md5sum < "$1") ;;
    64) found=$(sha256sum < "$1") ;;
    *) fail "bad checksum '$2' in this script" ;;
  esac
  [ "${found%% *}" = "$2" ]
}

# fetch URL FILE SUM: leaves a verified FILE.
fetch() {
  local url=$1 file=$2 sum=$3
  if [ -e "$file" ]; then
    digest "$file" "$sum" || fail "$file exists, but is not what $url gives (checksum differs); move it away and retry"
    say "$file is there already and verifies"
    return
  fi
  say "fetching $url"
  rm -f -- "$file.part"
  if command -v curl > /dev/null; then
    curl --fail --location --silent --show-error --retry 3 --connect-timeout 20 --output "$file.part" -- "$url" ||
      { rm -f -- "$file.part"; fail "could not fetch $url (is this machine online?)"; }
  elif command -v wget > /dev/null; then
    wget --quiet --tries=3 --timeout=20 --output-document="$file.part" -- "$url" ||
      { rm -f -- "$file.part"; fail "could not fetch $url (is this machine online?)"; }
  else
    fail "neither curl nor wget is installed"
  fi
  digest "$file.part" "$sum" || { rm -f -- "$file.part"; fail "$url does not have checksum $sum; nothing was kept"; }
  # -n: should the file have appeared meanwhile, it stays.
  mv -n -- "$file.part" "$file"
  [ ! -e "$file.part" ] || { rm -f -- "$file.part"; fail "$file appeared during the download; it was left alone"; }
  say "$file verified"
}

# unpack ARCHIVE DIR: DIR is the one directory that the archive holds.
unpack() {
  local archive=$1 directory=$2 fresh
  fresh=$(mktemp -d "$directory.unpacking.XXXXXX")
  case $archive in
    *.zip)
      command -v unzip > /dev/null || { rmdir "$fresh"; fail "unzip is not installed"; }
      unzip -q "$archive" -d "$fresh" || { rm -rf -- "$fresh"; fail "could not unpack $archive"; } ;;
    *) tar -xzf "$archive" -C "$fresh" || { rm -rf -- "$fresh"; fail "could not unpack $archive"; } ;;
  esac
  [ -d "$fresh/$(basename "$directory")" ] || { rm -rf -- "$fresh"; fail "$archive holds no $(basename "$directory")"; }
  [ ! -e "$directory" ] || { rm -rf -- "$fresh"; fail "$directory appeared meanwhile; it was left alone"; }
  mv -- "$fresh/$(basename "$directory")" "$directory"
  rm -rf -- "$fresh"
}

# archive_set URL SUM DIRECTORY: fetches an archive, unpacks it, drops it.
archive_set() {
  local archive directory
  archive="$dir/$(basename "$1")"
  directory="$dir/$3"
  if [ -e "$directory" ]; then
    say "$directory is there already; nothing to do"
    return
  fi
  fetch "$1" "$archive" "$2"
  unpack "$archive" "$directory"
  rm -f -- "$archive"
  say "ready: $directory"
}

# mnist_like URL DIRECTORY SUM...: the four files of MNIST and its kin, left gzipped.
mnist_like() {
  local url=$1 directory="$dir/$2" name
  shift 2
  mkdir -p -- "$directory"
  made=$directory
  for name in train-images-idx3-ubyte train-labels-idx1-ubyte t10k-images-idx3-ubyte t10k-labels-idx1-ubyte; do
    fetch "$url/$name.gz" "$directory/$name.gz" "$1"
    shift
  done
  made=
  say "ready: $directory"
}

case ${1-} in -h | --help) usage; exit 0 ;; esac
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
  usage >&2
  exit 2
fi
name=$1
dir=${2:-datasets}
case $name in
  cifar10 | cifar100 | mnist | fashion-mnist | imagenette | tinyshakespeare | wikitext2) ;;
  *) say "unknown data set '$name'" >&2; usage >&2; exit 2 ;;
esac
# A directory that a failed download left empty would look like a data set.
made=
trap '[ -z "$made" ] || rmdir -- "$made" 2>/dev/null || true' EXIT
mkdir -p -- "$dir" || fail "could not make directory $dir"

case $name in
  cifar10)  # Krizhevsky 2009
    archive_set https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz c32a1d4ab5d03f1284b67883e8d87530 \
      cifar-10-batches-bin ;;
  cifar100)
    archive_set https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz 03b5dce01913d631647c71ecec9e9cb8 \
      cifar-100-binary ;;
  mnist)  # LeCun, Cortes, Burges
    mnist_like https://ossci-datasets.s3.amazonaws.com/mnist mnist f68b3c2dcbeaaa9fbdd348bbdeb94873 \
      d53e105ee54ea40749a09fcbcd1e9432 9fb629c4189551a2d022fa330f9573f3 ec29112dd5afa0611ce80d1b7f02629c ;;
  fashion-mnist)  # Xiao, Rasul, Vollgraf 2017
    mnist_like http://fashion-mnist.s3-website.eu-central-1.amazonaws.com fashion-mnist \
      8d4fb7e6c68d591d4c3dfef9ec88bf0d 25c81989df183df01b3e8a0aad5dffbe bef4ecab320f06d8554ea6380940ec79 \
      bb300cfdad3c16e7a12a480ee83cd310 ;;
  imagenette)  # ten classes of ImageNet, shorter side 160 pixels
    archive_set https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz e793b78cc4c9e9a4ccc0c1155377a412 \
      imagenette2-160 ;;
  tinyshakespeare)
    mkdir -p -- "$dir/text"
    fetch https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt \
      "$dir/text/tinyshakespeare_input.txt" 86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed
    say "ready: $dir/text/tinyshakespeare_input.txt" ;;
  wikitext2)  # Merity, Xiong, Bradbury, Socher 2016
    archive_set https://wikitext.smerity.com/wikitext-2-raw-v1.zip \
      ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11 wikitext-2-raw ;;
esac
