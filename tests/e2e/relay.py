"""A relay that takes mail only under TLS, only after AUTH, and prints what happens to it: one JSON object a line.

relay.py CHAIN KEY USER PASSWORD
"""

import asyncio
import email
import email.policy
import json
import re
import signal
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

chain, key, user, password = sys.argv[1:]


def tell(event, **more):
    print(json.dumps({"event": event, **more}), flush=True)


class Handler:
    def handle_STARTTLS(self, server, session, envelope):
        tell("starttls")
        return True

    async def handle_DATA(self, server, session, envelope):
        raw = envelope.original_content
        mail = email.message_from_bytes(raw, policy=email.policy.default)
        parts = [part for part in mail.walk() if not part.is_multipart()]
        texts = [part.get_content() for part in parts]
        tell(
            "mail",
            tls=session.ssl is not None,
            helo=session.host_name,
            sender=envelope.mail_from,
            recipients=envelope.rcpt_tos,
            to=str(mail["to"]),
            subject=str(mail["subject"]),
            auto_submitted=str(mail["auto-submitted"]),
            defects=[str(defect) for part in mail.walk() for defect in part.defects],
            bare_newlines=len(re.findall(rb"(?<!\r)\n", raw)),
            types=[part.get_content_type() for part in parts],
            links=[found for text in texts for found in re.findall(r"https?://[^\s\"<>]+&code=[\w-]+", text.replace("&amp;", "&"))],
            **{"from": str(mail["from"])},
        )
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    good = (data.login, data.password) == (user.encode(), password.encode())
    tell("auth", user=data.login.decode(), good=good)
    return AuthResult(success=good, handled=False)


async def main():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(chain, key)
    serve = lambda: SMTP(
        Handler(),
        hostname="relay.example.com",
        tls_context=tls,
        require_starttls=True,
        auth_required=True,
        authenticator=authenticate,
        enable_SMTPUTF8=True,
    )
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await loop.create_server(serve, "127.0.0.1", 0)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()


asyncio.run(main())
