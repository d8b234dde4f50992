"""The studio's signing certificate, made at first start: an EC P-256 leaf under a root of its own, both kept in the data folder.

A stranger trusts it by trusting `studio-root.pem`, which the operator publishes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tribute.records import InvalidInput, Unreadable, utc_now
from tribute.store.blobs import write_file

YEARS = 10


@dataclass(frozen=True)
class Studio:
    """PEM texts. `chain` is the leaf, then the root."""

    chain: bytes
    key: bytes
    root: bytes

    def sign(self, data: bytes) -> str:
        """ECDSA over SHA-256, DER in hexadecimal."""
        key = serialization.load_pem_private_key(self.key, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key.sign(data, ec.ECDSA(hashes.SHA256())).hex()


def verify_signature(data: bytes, signature: str, chain: bytes, root: bytes | None) -> bool:
    """True where the chain's leaf signed `data` and, if a root is given, that root signed the leaf."""
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        if root is not None:
            leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(root))
        public = leaf.public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        public.verify(bytes.fromhex(signature), data, ec.ECDSA(hashes.SHA256()))
        return True
    except (InvalidSignature, ValueError, IndexError, TypeError, AssertionError):
        return False


def read_root(path: Path) -> bytes:
    """A root certificate in PEM. Raises InvalidInput for what is none."""
    try:
        text = path.read_bytes()
        x509.load_pem_x509_certificate(text)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} is not a certificate in PEM; give the studio-root.pem that the other studio publishes") from error
    return text


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tribute studio"), x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey, authority: bool) -> x509.Certificate:
    now = utc_now()
    usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=365 * YEARS))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(signer, hashes.SHA256())


def make_studio() -> Studio:
    """A fresh root and leaf; the root's key is thrown away."""
    root_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    root = _certificate("Tribute studio root", "Tribute studio root", root_key, root_key, True).public_bytes(pem)
    leaf = _certificate("Tribute studio", "Tribute studio root", leaf_key, root_key, False).public_bytes(pem)
    key = leaf_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Studio(chain=leaf + root, key=key, root=root)


def open_studio(folder: Path) -> Studio:
    """The studio's certificate in `folder`, made if there is none. One file holds all of it, so a kill leaves all or nothing."""
    path = folder / "studio.pem"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        made = make_studio()
        write_file(path, made.key + made.chain, mode=0o600, replace=False)
    text = path.read_bytes()
    mark = b"-----BEGIN CERTIFICATE-----"
    parts = text.split(mark)
    if len(parts) != 3 or b"PRIVATE KEY" not in parts[0]:
        raise Unreadable(f"{path} is not a studio certificate; restore it from a backup, or move it away to have a new one made")
    leaf, root = mark + parts[1], mark + parts[2]
    published = folder / "studio-root.pem"
    if not published.exists() or published.read_bytes() != root:
        write_file(published, root)
    return Studio(chain=leaf + root, key=parts[0], root=root)
