// A real OpenID provider on a free port of this machine, and a toy API that takes its tokens.
//
// Prints one line of JSON, `{"issuer":…}`, when it listens; ends when its stdin is closed, so that
// nothing stays behind when a test dies.
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const refreshTokens = [];
const server = createServer();
server.listen(0, '127.0.0.1', async () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'maestro-test',
      client_name: 'Maestro (test)',
      application_type: 'native',
      token_endpoint_auth_method: 'none',
      redirect_uris: ['http://127.0.0.1/callback'],
      grant_types: [
        'authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code',
      ],
      response_types: ['code'],
      scope: 'openid email offline_access',
    }],
    claims: { email: ['email'] },
    scopes: ['openid', 'email', 'offline_access'],
    // The account is in the id token, as with the vendors that this stands for.
    conformIdTokenClaims: false,
    findAccount: (_, sub) => ({
      accountId: sub,
      claims: () => ({ sub, email: sub }),
    }),
    features: {
      deviceFlow: { enabled: true },
      revocation: { enabled: true },
      registration: { enabled: true },
      devInteractions: { enabled: true },
    },
    pkce: { required: () => true },
    cookies: { keys: ['only-for-tests'] },
    ttl: {
      AccessToken: 3600, AuthorizationCode: 60, DeviceCode: 600, Grant: 3600, IdToken: 3600,
      Interaction: 600, RefreshToken: 86400, Session: 600,
    },
  });
  provider.on('refresh_token.saved', (token) => refreshTokens.push(token.jti));
  const oidc = provider.callback();
  server.on('request', (request, response) => {
    const json = (status, body) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body));
    };
    const { pathname } = new URL(request.url, issuer);
    if (pathname === '/test/refresh-tokens') {
      json(200, refreshTokens);
    } else if (pathname.startsWith('/v1/')) {
      const [, value] = /^Bearer (.+)$/.exec(request.headers.authorization ?? '') ?? [];
      provider.AccessToken.find(value ?? '').then((token) => {
        if (!token) return json(401, { error: { message: 'this token is not good' } });
        return json(200, pathname === '/v1/me' ? token.accountId : ['m']);
      }, () => json(500, {}));
    } else {
      oidc(request, response);
    }
  });
  process.stdout.write(`${JSON.stringify({ issuer })}\n`);
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
