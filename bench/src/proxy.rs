//! The least that a reverse proxy on hyper can be: every request goes to one address over pooled
//! connections, every answer back as it comes.

use std::{convert::Infallible, net::SocketAddr};

use anyhow::Result;
use http_body_util::{Either, Empty};
use hyper::{
    Request, Response, StatusCode, Uri, body::Incoming, header, server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::TcpListener;

type Body = Either<Incoming, Empty<bytes::Bytes>>;

/// Listens, says where, and passes on until it is ended.
pub(crate) async fn run(to: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let client = client.clone();
        let service = service_fn(move |request| pass_on(client.clone(), to, request));
        tokio::spawn(async move {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // Who goes away has had enough.
            let _ = connection.await;
        });
    }
}

async fn pass_on(
    client: Client<HttpConnector, Incoming>,
    to: SocketAddr,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let uri = format!("http://{to}{path}").parse::<Uri>().unwrap_or_default();
    *request.uri_mut() = uri;
    request.headers_mut().remove(header::HOST);
    let answered = client.request(request).await;
    Ok(answered.map_or_else(|_| bad_gateway(), |response| response.map(Either::Left)))
}

fn bad_gateway() -> Response<Body> {
    let mut response = Response::new(Either::Right(Empty::new()));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}
